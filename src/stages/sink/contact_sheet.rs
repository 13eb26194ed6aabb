//! `contact_sheet`: many pictures small on one. For a look at a whole folder or a whole video.
//!
//! The pictures come on `image`; under each stands its best class when `labels` is connected, else its time, or the name of
//! its file for a picture without a duration. With `{stream}` in the path every stream has a sheet of its own (a video),
//! without it all streams share one (a folder of photos), in the order in which their pictures come.
//!
//! A sheet holds at most `max_pictures`. Of more every second one is left out, then every second of those, and so on: what
//! is there is spread evenly. The file is written when a stream ends, and again with each further one that shares it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::claims::Claims;
use super::output_file::make_folders;
use super::path::{self, STREAM};
use super::{SinkError, is_partial};
use crate::codec::{PictureFormat, encode_picture};
use crate::config::{Fault, Faults};
use crate::dsp::DspError;
use crate::dsp::picture::{Canvas, Filter, Fit, Lettering, PixelView, Placement, Resizer};
use crate::media::{Format, Image, Packet, PixelFormat, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// Most pixels of a sheet.
const MAX_PIXELS: u64 = 100_000_000;
/// The ground, and what is written on it.
const GROUND: [u8; 3] = [34, 34, 34];
const INK: [u8; 3] = [235, 235, 235];
/// Pixels between pictures.
const GAP: u32 = 4;

/// Settings of `contact_sheet`: `image`, and `labels` where connected →
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContactSheet {
    /// The file, `.png` or `.jpg`. All streams share it, unless it holds `{stream}`: then each has its own.
    pub path: String,
    /// Pictures in a row, 1 to 100. Default: 6.
    #[serde(default = "columns")]
    #[schemars(range(min = 1, max = 100))]
    pub columns: u32,
    /// The width of a picture's place in pixels, 16 to 2000; its height is three quarters of it. Default: 200.
    #[serde(default = "cell_px")]
    #[schemars(range(min = 16, max = 2000))]
    pub cell_px: u32,
    /// Most pictures on a sheet, at least 2. Default: 60.
    #[serde(default = "max_pictures")]
    #[schemars(range(min = 2, max = 100_000))]
    pub max_pictures: u32,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    sheets: Claims<Sheet>,
}

fn columns() -> u32 {
    6
}

fn cell_px() -> u32 {
    200
}

fn max_pictures() -> u32 {
    60
}

impl ContactSheet {
    /// Sheets at `path`, with the default settings.
    pub fn new(path: impl Into<String>) -> Self {
        ContactSheet {
            path: path.into(),
            columns: columns(),
            cell_px: cell_px(),
            max_pictures: max_pictures(),
            base: PathBuf::new(),
            sheets: Claims::default(),
        }
    }

    fn format(&self) -> Option<PictureFormat> {
        let ending = std::path::Path::new(&self.path).extension()?.to_str()?.to_lowercase();
        match ending.as_str() {
            "png" => Some(PictureFormat::Png),
            "jpg" | "jpeg" => Some(PictureFormat::Jpeg { quality: 90 }),
            _ => None,
        }
    }

    /// Width and height of a picture's place.
    fn cell(&self) -> (u32, u32) {
        (self.cell_px, (self.cell_px / 4).saturating_mul(3).max(1))
    }

    fn lettering(&self) -> Lettering {
        Lettering::new((f64::from(self.cell_px) / 14.0).clamp(9.0, 40.0))
    }

    /// Rows of text and of pictures between the tops of two pictures.
    fn step(&self) -> u32 {
        let (above, below) = self.lettering().reach();
        self.cell().1.saturating_add((above + below).ceil() as u32 + GAP)
    }

    /// Width and height of a sheet of so many pictures.
    fn size(&self, pictures: u32) -> (u32, u32) {
        let columns = self.columns.min(pictures).max(1);
        let rows = pictures.div_ceil(self.columns.max(1)).max(1);
        let side = |count: u32, step: u32| count.saturating_mul(step).saturating_add(GAP);
        (side(columns, self.cell().0.saturating_add(GAP)), side(rows, self.step()))
    }
}

const EXAMPLE: &str = "\
percept: 1
name: overview
stages:
  - capture: images
    path: examples/photos
  - sink: contact_sheet
    path: overview.png
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<ContactSheet>("contact_sheet", Role::Sink, "many pictures small on one, for an overview", EXAMPLE);

impl Resolve for ContactSheet {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[STREAM])?;
        if self.format().is_none() {
            let fault =
                context.fault("path", "bad-path", "a contact sheet is a picture").found(format!("`{}`", self.path));
            return Err(fault.expected("a name that ends with .png or .jpg").into());
        }
        let (width, height) = self.size(self.max_pictures);
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            let fault = context.fault("max_pictures", "too-large", "a full sheet would be too large");
            let fault =
                fault.found(format!("{width} × {height} pixels")).expected(format!("at most {MAX_PIXELS} pixels"));
            return Err(fault.help("lower `max_pictures` or `cell_px`").into());
        }
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for ContactSheet {
    fn contract(&self) -> Contract {
        Contract::new()
            .input("image", Format::image(None, None, None))
            .optional_input("labels", Format::Labels)
            .deadline(None)
            .writes(self.base.join(&self.path).display().to_string())
            .shared()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(SheetStage(self.clone())))
    }

    fn probe(&self) -> Vec<Fault> {
        path::probe(&self.base, &self.path)
    }
}

/// A picture on a sheet.
#[derive(Debug)]
struct Cell {
    pixels: Vec<u8>,
    caption: String,
}

/// A sheet while it fills.
#[derive(Debug)]
struct Sheet {
    path: PathBuf,
    cells: Vec<Cell>,
    /// Pictures that came, and which of them are taken: those whose number this divides.
    seen: u64,
    every: u64,
}

impl Sheet {
    /// Whether the next picture has a place.
    fn takes(&mut self) -> bool {
        let takes = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        takes
    }

    fn add(&mut self, cell: Cell, most: u32) {
        self.cells.push(cell);
        if self.cells.len() > most.max(2) as usize {
            let mut number = 0;
            self.cells.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every = self.every.saturating_mul(2);
        }
    }
}

struct SheetStage(ContactSheet);

/// One stream.
struct Filling {
    stream: StreamInfo,
    sheet: Arc<Mutex<Sheet>>,
    /// The picture that waits for its label.
    held: Option<Packet>,
    label: Option<String>,
}

impl SheetStage {
    /// Puts the picture that is held on the sheet.
    fn place(&self, state: &mut Filling) -> Result<(), StageError> {
        let (held, label) = (state.held.take(), state.label.take());
        let Some(packet) = held else { return Ok(()) };
        let mut sheet = state.sheet.lock().unwrap_or_else(PoisonError::into_inner);
        if !sheet.takes() {
            return Ok(());
        }
        let caption = label.unwrap_or_else(|| match packet.duration.as_nanos() {
            0 => state.stream.name.rsplit('/').next().unwrap_or_default().to_owned(),
            _ => format!("{:.1} s", packet.start.as_seconds()),
        });
        let pixels = small(packet.payload.image()?, self.0.cell()).map_err(StageError::skip)?;
        sheet.add(Cell { pixels, caption }, self.0.max_pictures);
        Ok(())
    }

    /// Draws the sheet and writes it.
    fn write(&self, sheet: &Sheet) -> Result<(), SinkError> {
        let (Some(format), false) = (self.0.format(), sheet.cells.is_empty()) else { return Ok(()) };
        let (width, height) = self.0.size(sheet.cells.len() as u32);
        let mut pixels = GROUND.repeat(width as usize * height as usize);
        let (cell_width, cell_height) = self.0.cell();
        let row_bytes = cell_width as usize * 3;
        let mut lettering = self.0.lettering();
        let place = |n: usize| {
            let columns = self.0.columns.max(1);
            let (column, row) = (n as u32 % columns, n as u32 / columns);
            (GAP + column * (cell_width + GAP), GAP + row * self.0.step())
        };
        for (n, cell) in sheet.cells.iter().enumerate() {
            let (left, top) = place(n);
            for (y, row) in cell.pixels.chunks_exact(row_bytes).enumerate() {
                let at = ((top as usize + y) * width as usize + left as usize) * 3;
                if let Some(target) = pixels.get_mut(at..at + row_bytes) {
                    target.copy_from_slice(row);
                }
            }
        }
        if let Some(mut canvas) = Canvas::new(&mut pixels, width, height) {
            let (above, _) = lettering.reach();
            for (n, cell) in sheet.cells.iter().enumerate() {
                let (left, top) = place(n);
                let base = (left as f32 + 2.0, ((top + cell_height) as f32 + above).round());
                let caption = fitting(&lettering, &cell.caption, cell_width as f32 - 4.0);
                canvas.text(&mut lettering, base, &caption, INK);
            }
        }
        let image = Image::new(pixels, width, height, PixelFormat::Rgb8).expect("three bytes for each pixel");
        let bytes = encode_picture(&image, format)?;
        make_folders(&sheet.path)?;
        std::fs::write(&sheet.path, bytes).map_err(|source| SinkError::Write { path: sheet.path.clone(), source })
    }
}

/// As much of a text as fits into `room` pixels, with `…` where it is cut.
fn fitting(lettering: &Lettering, text: &str, room: f32) -> String {
    let mut fits = text.to_owned();
    while lettering.width(&fits) > room && fits.chars().count() > 1 {
        fits.truncate(fits.trim_end_matches('…').char_indices().next_back().map_or(0, |(at, _)| at));
        fits.push('…');
    }
    fits
}

/// The whole picture in the middle of its place, red, green, blue.
fn small(image: &Image, cell: (u32, u32)) -> Result<Vec<u8>, DspError> {
    let (width, height, channels) = (image.width(), image.height(), image.format().channels());
    let ground: &[u8] = match image.format() {
        PixelFormat::Gray8 => &GROUND[..1],
        PixelFormat::Rgb8 => &GROUND,
        PixelFormat::Rgba8 => &[GROUND[0], GROUND[1], GROUND[2], 255],
    };
    let placement = Placement::new(Fit::Letterbox, (width, height), cell)?;
    let mut out = Vec::new();
    let view = PixelView::new(image.bytes(), width, height, image.stride(), channels)?;
    Resizer::new(placement, Filter::Bilinear, channels, ground)?.run(&view, &mut out)?;
    Ok(match image.format() {
        PixelFormat::Gray8 => out.iter().flat_map(|gray| [*gray; 3]).collect(),
        PixelFormat::Rgb8 => out,
        PixelFormat::Rgba8 => out.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
    })
}

impl Stage for SheetStage {
    type State = Filling;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Filling>, StageError> {
        let ContactSheet { path, base, sheets, .. } = &self.0;
        let sheet = sheets.shared(&path::for_stream(base, path, stream), stream, |path| {
            Ok::<_, SinkError>(Sheet { path: path.to_owned(), cells: Vec::new(), seen: 0, every: 1 })
        })?;
        let state = Filling { stream: stream.clone(), sheet, held: None, label: None };
        Ok(Opened { state, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Filling, input: Input, _: &mut Output) -> Result<(), StageError> {
        let Input { port, packet } = input;
        if port == 0 {
            packet.payload.image()?;
            let placed = self.place(state);
            state.held = Some(packet);
            return placed;
        }
        let labels = packet.payload.labels()?;
        if let (Some(held), Some(best), false) = (&state.held, labels.entries.first(), is_partial(&packet))
            && held.origin.sequence == packet.origin.sequence
        {
            let name = best.name.as_deref().map_or_else(|| format!("class {}", best.index), str::to_owned);
            state.label = Some(format!("{name} {:.2}", best.score));
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut Filling, _: &mut Output) -> Result<(), StageError> {
        let placed = self.place(state);
        let sheet = state.sheet.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&sheet)?;
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{PictureLimits, read_picture};
    use crate::config::{Source, parse};
    use crate::media::{Label, Labels};
    use crate::stage::{Settings, Solo};
    use crate::stages::sink::kit::{packet, stream};

    fn picture(level: u8, format: PixelFormat) -> Image {
        Image::new(vec![level; 40 * 30 * format.channels()], 40, 30, format).unwrap()
    }

    /// Runs streams of pictures of these levels, in places of 40 × 30.
    fn sheet(streams: &[&[u8]], change: impl FnOnce(&mut ContactSheet)) -> Image {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ContactSheet { base: folder.path().to_owned(), ..ContactSheet::new("a/sheet.png") };
        (config.columns, config.cell_px) = (3, 40);
        change(&mut config);
        let image = Format::image(None, None, None);
        for (number, levels) in streams.iter().enumerate() {
            let info = stream(number as u32, "a/b.png");
            let mut solo = Solo::open(&config, info, vec![image.clone(), Format::Labels]).unwrap();
            for (n, level) in levels.iter().enumerate() {
                let start = n as i64 * 40;
                solo.push(0, packet(start, start + 40, picture(*level, PixelFormat::Rgb8))).unwrap();
                let label = Label { index: 0, name: Some("a name that is too long".into()), score: 0.5 };
                solo.push(1, packet(start, start + 40, Labels { entries: [label].into() })).unwrap();
            }
            solo.flush().unwrap();
        }
        read_picture(&folder.path().join("a/sheet.png"), &PictureLimits::default()).unwrap()
    }

    /// The level in the middle of each place.
    fn levels(sheet: &Image, config: &ContactSheet) -> Vec<u8> {
        let mut found = Vec::new();
        for row in 0..sheet.height() / config.step() {
            for column in 0..sheet.width() / (config.cell_px + GAP) {
                let (x, y) = (GAP + column * (config.cell_px + GAP) + 20, GAP + row * config.step() + 15);
                found.push(sheet.packed()[(y as usize * sheet.width() as usize + x as usize) * 3]);
            }
        }
        found
    }

    #[test]
    fn pictures_stand_in_rows_and_too_many_are_thinned_out() {
        let config = ContactSheet { columns: 3, cell_px: 40, ..ContactSheet::new("x.png") };
        let ground = GROUND[0];
        for (streams, most, expected) in [
            (&[&[100, 101][..]][..], 60, vec![100, 101]),
            (&[&[100], &[101], &[102], &[103]], 60, vec![100, 101, 102, 103, ground, ground]),
            (&[&[100, 101, 102, 103, 104, 105, 106, 107]], 3, vec![100, 104]),
            (&[&[100, 101, 102, 103, 104]], 4, vec![100, 102, 104]),
        ] {
            let found = sheet(streams, |config| config.max_pictures = most);
            assert_eq!(levels(&found, &config), expected, "{streams:?}, at most {most}");
        }
    }

    #[test]
    fn captions_stand_below_and_stay_in_their_place() {
        let found = sheet(&[&[100]], |_| {});
        let config = ContactSheet { columns: 3, cell_px: 40, ..ContactSheet::new("x.png") };
        assert_eq!((found.width(), found.height()), config.size(1));
        let pixels = found.packed();
        let line = |y: u32| &pixels[y as usize * found.width() as usize * 3..][..found.width() as usize * 3];
        assert!((GAP + 30..found.height() - GAP).any(|y| line(y).iter().any(|sample| *sample > 150)), "no caption");
        let lettering = Lettering::new(10.0);
        for (text, room) in [("short", 500.0), ("a long text that is cut", 40.0), ("", 1.0), ("WWW", 0.0)] {
            let fits = fitting(&lettering, text, room);
            assert!(lettering.width(&fits) <= room || fits.chars().count() <= 1, "{fits}");
            assert_eq!(fits.ends_with('…'), fits != text, "{fits}");
        }
    }

    #[test]
    fn every_format_of_pixels_has_a_place() {
        for format in [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8] {
            let pixels = small(&picture(255, format), (20, 20)).unwrap();
            assert_eq!(pixels.len(), 1200);
            assert_eq!((pixels[0], pixels[600 + 30]), (GROUND[0], 255), "{format}: on its ground, in the middle");
        }
    }

    #[test]
    fn faults_at_their_place() {
        let read = |yaml: &str| {
            let source = Source::new("test.yaml", yaml);
            let node = parse(&source).unwrap();
            let settings = Settings::default();
            let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
            (KIND.read)(&context).map(|_| ()).map_err(|faults| faults.to_string())
        };
        assert!(read("path: '{stream}.jpg'").is_ok());
        for (yaml, says) in [
            ("path: a.mp4", ".png or .jpg"),
            ("path: a.png\ncolumns: 0", "columns"),
            ("path: a.png\nmax_pictures: 100000\ncell_px: 2000", "lower `max_pictures` or `cell_px`"),
        ] {
            let faults = read(yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:"), "{yaml}: {faults}");
        }
    }
}
