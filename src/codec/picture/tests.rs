use std::io::Write;
use std::path::PathBuf;

use image::codecs::gif::GifEncoder;
use image::{ImageBuffer, ImageError, Luma, LumaA, Rgb, Rgba};
use proptest::prelude::*;

use super::*;
use crate::media::Place;
use crate::units::TimeSpan;

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];

/// A file made by `tests/reference/picture_files.py`: quarters of red, green, blue and white.
fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/picture")).join(name)
}

fn decode(bytes: &[u8]) -> Result<Image, PictureError> {
    decode_picture(bytes, "p".as_ref(), &PictureLimits::default())
}

/// The bytes of a picture file as the crate `image` writes it.
fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn gradient(width: u32, height: u32) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    ImageBuffer::from_fn(width, height, |x, y| Rgb([(x * 9) as u8, (y * 11) as u8, (x + y) as u8]))
}

/// The middles of the four quarters, without alpha.
fn quarters(image: &Image) -> [[u8; 3]; 4] {
    let channels = image.format().channels();
    let at = |x: usize, y: usize| {
        let pixel = &image.rows().nth(y).unwrap()[x * channels..][..channels];
        [pixel[0], pixel[1], pixel[2]]
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| at(x * width / 4, y * height / 4))
}

fn close(a: [[u8; 3]; 4], b: [[u8; 3]; 4], most: u8) -> bool {
    a.as_flattened().iter().zip(b.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= most)
}

#[test]
fn files_of_every_kind() {
    for (name, format, off) in [
        ("cmyk.jpg", PixelFormat::Rgb8, 6),
        ("progressive.jpg", PixelFormat::Rgb8, 6),
        ("lossy.webp", PixelFormat::Rgb8, 12),
        ("palette.png", PixelFormat::Rgb8, 0),
        ("transparent_palette.png", PixelFormat::Rgba8, 0),
        ("animated.gif", PixelFormat::Rgba8, 0),
        ("animated.png", PixelFormat::Rgb8, 0),
    ] {
        let image = read_picture(&file(name), &PictureLimits::default()).unwrap();
        assert_eq!((image.width(), image.height(), image.format()), (16, 16, format), "{name}");
        assert_eq!(*image.place(), Place::whole(16, 16));
        let found = quarters(&image);
        assert!(close(found, [RED, GREEN, BLUE, WHITE], off), "{name}: {found:?}");
    }
    let image = read_picture(&file("transparent_palette.png"), &PictureLimits::default()).unwrap();
    let alpha: Vec<u8> = image.bytes().chunks(4).map(|pixel| pixel[3]).collect();
    assert_eq!((alpha[0], alpha[255]), (255, 0));
}

#[test]
fn formats_that_lose_nothing_come_back_as_they_were() {
    for (width, height) in [(1, 1), (7, 5), (16, 1), (3, 64)] {
        let picture = gradient(width, height);
        for format in [
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::Pnm,
            ImageFormat::Jpeg,
        ] {
            let image = decode(&encoded(picture.clone(), format)).unwrap();
            assert_eq!((image.width(), image.height()), (width, height), "{format:?}");
            if !matches!(format, ImageFormat::Gif | ImageFormat::Jpeg) {
                assert_eq!(image.format(), PixelFormat::Rgb8, "{format:?}");
                assert_eq!(&**image.bytes(), picture.as_raw(), "{format:?}");
            }
        }
    }
}

#[test]
fn samples_become_eight_bits() {
    let cases: [(DynamicImage, PixelFormat, &[u8]); 6] = [
        (ImageBuffer::from_pixel(1, 1, Luma([7u8])).into(), PixelFormat::Gray8, &[7]),
        (ImageBuffer::from_pixel(1, 1, LumaA([7u8, 9])).into(), PixelFormat::Rgba8, &[7, 7, 7, 9]),
        (ImageBuffer::from_pixel(1, 1, Luma([0x8000u16])).into(), PixelFormat::Gray8, &[128]),
        (ImageBuffer::from_pixel(1, 1, Rgb([0xffffu16, 0x0101, 0])).into(), PixelFormat::Rgb8, &[255, 1, 0]),
        (
            ImageBuffer::from_pixel(1, 1, Rgba([0xffffu16, 0, 257, 0x7f7f])).into(),
            PixelFormat::Rgba8,
            &[255, 0, 1, 127],
        ),
        (ImageBuffer::from_pixel(1, 1, LumaA([257u16, 0xffff])).into(), PixelFormat::Rgba8, &[1, 1, 1, 255]),
    ];
    for (picture, format, pixel) in cases {
        let color = picture.color();
        let image = decode(&encoded(picture, ImageFormat::Png)).unwrap();
        assert_eq!((image.format(), &**image.bytes()), (format, pixel), "{color:?}");
    }
}

/// A JPEG with an EXIF segment that says how the camera was held.
fn held(orientation: u8) -> Vec<u8> {
    // Wider than high: the upper left quarter is red, the upper right one green, the lower ones blue and white.
    let picture = ImageBuffer::from_fn(48, 32, |x, y| Rgb([RED, GREEN, BLUE, WHITE][(x / 24 + y / 16 * 2) as usize]));
    let plain = encoded(picture, ImageFormat::Jpeg);
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() + 2) as u16;
    [&plain[..2], &[0xff, 0xe1], &length.to_be_bytes(), &exif, &plain[2..]].concat()
}

#[test]
fn up_is_up() {
    for (orientation, size, expected) in [
        (1, (48, 32), [RED, GREEN, BLUE, WHITE]),
        (2, (48, 32), [GREEN, RED, WHITE, BLUE]),
        (3, (48, 32), [WHITE, BLUE, GREEN, RED]),
        (4, (48, 32), [BLUE, WHITE, RED, GREEN]),
        (5, (32, 48), [RED, BLUE, GREEN, WHITE]),
        (6, (32, 48), [BLUE, RED, WHITE, GREEN]),
        (7, (32, 48), [WHITE, GREEN, BLUE, RED]),
        (8, (32, 48), [GREEN, WHITE, RED, BLUE]),
        (77, (48, 32), [RED, GREEN, BLUE, WHITE]),
    ] {
        let image = decode(&held(orientation)).unwrap();
        assert_eq!((image.width(), image.height()), size, "{orientation}");
        assert_eq!(*image.place(), Place::whole(size.0, size.1), "{orientation}");
        assert!(close(quarters(&image), expected, 40), "{orientation}: {:?}", quarters(&image));
    }
}

#[test]
fn bad_input() {
    let picture = gradient(64, 48);
    let cut = |format: ImageFormat| {
        let bytes = encoded(picture.clone(), format);
        bytes[..bytes.len() * 2 / 3].to_vec()
    };
    // 100,000 × 100,000 pixels in a header, and nothing after it.
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
    };
    let side = 100_000u32.to_be_bytes();
    let giant_png = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[&side[..], &side, &[8, 2, 0, 0, 0]].concat()),
        chunk(b"IDAT", &[]),
    ]
    .concat();
    let mut giant_bmp = encoded(gradient(1, 1), ImageFormat::Bmp);
    giant_bmp[18..22].copy_from_slice(&100_000u32.to_le_bytes());
    giant_bmp[22..26].copy_from_slice(&100_000u32.to_le_bytes());
    let giant =
        "p: expected at most 100000000 pixels, found 100000 × 100000; make the picture smaller, or raise the limit";
    let damaged = {
        let mut bytes = encoded(picture.clone(), ImageFormat::Png);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        bytes
    };
    let truncated = |format: &str| {
        format!("p: truncated {format} file: it ends before the picture does; copy or download it again")
    };
    let cases: Vec<(Vec<u8>, String)> = vec![
        (vec![], "p: expected a picture, found nothing (0 bytes); was the copy or the download interrupted?".into()),
        (
            b"Dear diary".to_vec(),
            "p: expected a picture (PNG, JPEG, WebP, BMP, GIF or PNM), found text (\"Dear diary\"); check the path, or \
             convert the file to PNG"
                .into(),
        ),
        (
            b"RIFF\0\0\0\0WAVEfmt ".to_vec(),
            "p: expected a picture (PNG, JPEG, WebP, BMP, GIF or PNM), found a wav file; check the path, or convert the \
             file to PNG"
                .into(),
        ),
        (
            b"\0\0\0\x1cftypheic".to_vec(),
            "p: expected a picture (PNG, JPEG, WebP, BMP, GIF or PNM), found an mp4 or HEIF file; check the path, or \
             convert the file to PNG"
                .into(),
        ),
        (giant_png, giant.into()),
        (giant_bmp, giant.into()),
        (b"P6 100000 100000 255\n".to_vec(), giant.into()),
        (cut(ImageFormat::Png), truncated("PNG")),
        (cut(ImageFormat::Jpeg), truncated("JPEG")),
        (cut(ImageFormat::WebP), truncated("WebP")),
        (cut(ImageFormat::Bmp), truncated("BMP")),
        (cut(ImageFormat::Gif), truncated("GIF")),
        (cut(ImageFormat::Pnm), truncated("PNM")),
        (b"\x89PNG\r\n\x1a\n".to_vec(), truncated("PNG")),
        (b"\xff\xd8\xff".to_vec(), truncated("JPEG")),
        (b"GIF89a".to_vec(), truncated("GIF")),
        (b"P6 3 3".to_vec(), truncated("PNM")),
        (damaged, "p: damaged PNG file".into()),
        (b"P6 0 0 255\n".to_vec(), "p: damaged PNM file".into()),
    ];
    let mut wrong = Vec::new();
    for (bytes, message) in cases {
        let found = decode(&bytes).map_or_else(|error| error.to_string(), |image| format!("{image:?}"));
        if !found.starts_with(&message) {
            wrong.push(format!("found {found}, expected {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn bad_paths() {
    let limits = PictureLimits { max_bytes: 20, ..PictureLimits::default() };
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.png");
    std::fs::File::create(&large).unwrap().write_all(&[0; 21]).unwrap();
    for (path, expected) in [
        (folder.path().join("absent.png"), "there is no such file"),
        (folder.path().to_owned(), "expected a picture, found a folder"),
        (large, "expected a picture of at most 20 bytes, found 21"),
    ] {
        let error = read_picture(&path, &limits).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(PictureFrames::open(&path, &limits).unwrap_err().to_string(), error);
    }
    assert!(matches!(
        decode_picture(&[0; 21], "p".as_ref(), &limits),
        Err(PictureError::TooManyBytes { bytes: 21, .. })
    ));
}

#[test]
fn the_limit_of_pixels_is_the_last_that_passes() {
    let bytes = encoded(gradient(10, 10), ImageFormat::Png);
    let limits = |max_pixels| PictureLimits { max_pixels, ..PictureLimits::default() };
    assert!(decode_picture(&bytes, "p".as_ref(), &limits(100)).is_ok());
    assert!(matches!(
        decode_picture(&bytes, "p".as_ref(), &limits(99)),
        Err(PictureError::TooManyPixels { width: 10, height: 10, max_pixels: 99, .. })
    ));
}

#[test]
fn an_animation_comes_frame_by_frame() {
    let turns = [[RED, GREEN, BLUE, WHITE], [GREEN, WHITE, RED, BLUE], [WHITE, BLUE, GREEN, RED]];
    for name in ["animated.gif", "animated.png", "animated.webp"] {
        let frames: Vec<PictureFrame> =
            PictureFrames::open(&file(name), &PictureLimits::default()).unwrap().map(Result::unwrap).collect();
        assert_eq!(frames.len(), 3, "{name}");
        for ((frame, turn), millis) in frames.iter().zip(turns).zip([40, 120, 200]) {
            assert_eq!(frame.delay, Some(TimeSpan::from_millis(millis)), "{name}");
            assert_eq!((frame.image.width(), frame.image.format()), (16, PixelFormat::Rgba8), "{name}");
            assert!(close(quarters(&frame.image), turn, 1), "{name}: {:?}", quarters(&frame.image));
        }
    }
    let still = PictureFrames::open(&file("cmyk.jpg"), &PictureLimits::default()).unwrap();
    let still: Vec<PictureFrame> = still.map(Result::unwrap).collect();
    assert_eq!(still.len(), 1);
    assert_eq!(still[0].delay, None);
    assert_eq!(still[0].image, read_picture(&file("cmyk.jpg"), &PictureLimits::default()).unwrap());
}

#[test]
fn a_truncated_animation_gives_what_it_has() {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    let frame = |level: u8| image::Frame::new(ImageBuffer::from_pixel(40, 40, Rgba([level, 0, 0, 255])));
    encoder.encode_frames([frame(10), frame(200), frame(90)]).unwrap();
    drop(encoder);
    bytes.truncate(bytes.len() - 60);
    let mut frames = PictureFrames::from_bytes(bytes, "p".as_ref(), &PictureLimits::default()).unwrap();
    assert!(frames.next().unwrap().is_ok());
    let rest: Vec<_> = frames.by_ref().collect();
    assert!(matches!(rest.last(), Some(Err(PictureError::Truncated { format: "GIF", .. }))), "{rest:?}");
    assert!(frames.next().is_none());
}

#[test]
fn pictures_are_written() {
    let image = Image::new(gradient(9, 7).into_raw(), 9, 7, PixelFormat::Rgb8).unwrap();
    let crop = image.crop(2, 1, 5, 4).unwrap();
    let written = decode(&encode_picture(&crop, PictureFormat::Png).unwrap()).unwrap();
    assert_eq!(written.packed(), crop.packed());
    for (format, channels) in [(PixelFormat::Gray8, 1), (PixelFormat::Rgba8, 4)] {
        let image = Image::new((0..30 * channels).map(|n| n as u8).collect::<Vec<u8>>(), 6, 5, format).unwrap();
        assert_eq!(decode(&encode_picture(&image, PictureFormat::Png).unwrap()).unwrap(), image);
    }
    let flat = Image::new([40, 90, 200].repeat(64), 8, 8, PixelFormat::Rgb8).unwrap();
    for quality in [0, 90, 255] {
        let bytes = encode_picture(&flat, PictureFormat::Jpeg { quality }).unwrap();
        let found = decode(&bytes).unwrap();
        let off = found.bytes().iter().zip(&**flat.bytes()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(quality == 0 || off <= Some(3), "{quality}: {off:?}");
    }
    let alpha = Image::new(vec![0u8; 4], 1, 1, PixelFormat::Rgba8).unwrap();
    assert_eq!(
        encode_picture(&alpha, PictureFormat::Jpeg { quality: 90 }).unwrap_err().to_string(),
        "a JPEG file cannot hold a picture of 1 × 1 pixels of rgba8: JPEG has no alpha; drop the alpha first, or write a \
         PNG"
    );
    let long = Image::new(vec![0u8; 65_536], 65_536, 1, PixelFormat::Gray8).unwrap();
    assert!(matches!(
        encode_picture(&long, PictureFormat::Jpeg { quality: 90 }),
        Err(PictureError::Unwritable { width: 65_536, .. })
    ));
}

#[test]
fn a_fault_of_reading_is_told_from_one_of_the_file() {
    let of =
        |kind: std::io::ErrorKind| PictureError::of("p".as_ref(), ImageFormat::Png, ImageError::IoError(kind.into()));
    assert!(matches!(of(std::io::ErrorKind::UnexpectedEof), PictureError::Truncated { .. }));
    assert!(matches!(of(std::io::ErrorKind::InvalidData), PictureError::Damaged { .. }));
    assert!(matches!(of(std::io::ErrorKind::PermissionDenied), PictureError::Read { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_file_makes_a_decoder_panic_or_give_a_huge_picture(
        which in 0usize..8, at in prop::array::uniform4(0.0f64..1.0), bytes in prop::array::uniform4(0u8..), keep in 0.0f64..2.0,
    ) {
        let names = [
            "cmyk.jpg", "progressive.jpg", "lossy.webp", "palette.png", "animated.gif", "animated.png", "animated.webp",
            "transparent_palette.png",
        ];
        let mut file = std::fs::read(file(names[which])).unwrap();
        for (at, byte) in at.iter().zip(bytes) {
            let at = (at * file.len() as f64) as usize;
            file[at] = byte;
        }
        file.truncate((keep * file.len() as f64) as usize);
        let limits = PictureLimits { max_pixels: 10_000, max_bytes: 10_000 };
        if let Ok(image) = decode_picture(&file, "p".as_ref(), &limits) {
            prop_assert!(u64::from(image.width()) * u64::from(image.height()) <= limits.max_pixels);
        }
        if let Ok(frames) = PictureFrames::from_bytes(file, "p".as_ref(), &limits) {
            prop_assert!(frames.take(10).count() <= 10);
        }
    }
}
