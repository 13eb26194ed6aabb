//! From luminance and two colour differences to red, green and blue.

/// How the planes of a picture lie and what their numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Pixels of the luminance for one of the colour, from left to right and from top to bottom; `None`: no colour.
    pub(super) shared: Option<(usize, usize)>,
    /// Whether samples go from 0 to 255, in place of 16 to 235 (luminance) and 16 to 240 (colour).
    pub(super) full: bool,
}

/// Fixed point: 16 bits behind the point.
const ONE: f64 = 65_536.0;

/// How much of each sample goes into red, green and blue.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    luma: i32,
    black: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Layout {
    /// Bytes of the colour planes' rows, and their number.
    fn chroma(&self) -> (usize, usize) {
        match self.shared {
            Some((across, down)) => (self.width.div_ceil(across), self.height.div_ceil(down)),
            None => (0, 0),
        }
    }

    /// Bytes of a picture: the luminance, then both colours; `None` beyond what memory can hold.
    pub(super) fn bytes(&self) -> Option<usize> {
        let (width, height) = self.chroma();
        let luma = self.width.checked_mul(self.height)?;
        luma.checked_add(width.checked_mul(height)?.checked_mul(2)?)
    }

    /// The matrix of ITU-R BT.601 for up to 576 rows (standard definition), of BT.709 for more; both with their weights of
    /// red and blue.
    fn matrix(&self) -> Matrix {
        let (red, blue) = if self.height <= 576 { (0.299, 0.114) } else { (0.2126, 0.0722) };
        let green = 1.0 - red - blue;
        let (luma, colour) = if self.full { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
        let fixed = |value: f64| (value * ONE).round() as i32;
        Matrix {
            luma: fixed(luma),
            black: if self.full { 0 } else { 16 },
            red_v: fixed(2.0 * (1.0 - red) * colour),
            green_u: fixed(2.0 * (1.0 - blue) * blue / green * colour),
            green_v: fixed(2.0 * (1.0 - red) * red / green * colour),
            blue_u: fixed(2.0 * (1.0 - blue) * colour),
        }
    }

    /// The picture as red, green, blue, row after row. Each colour sample counts for all pixels that share it. `planes` has
    /// as many bytes as [`bytes`](Self::bytes) says; of fewer the missing rows are left out.
    pub(super) fn to_rgb(self, planes: &[u8]) -> Vec<u8> {
        let matrix = self.matrix();
        let (chroma_width, chroma_height) = self.chroma();
        let (luma, colours) = planes.split_at(planes.len().min(self.width * self.height));
        let (u, v) = colours.split_at(colours.len().min(chroma_width * chroma_height));
        let mut rgb = Vec::with_capacity(self.width * self.height * 3);
        for (y, row) in luma.chunks_exact(self.width.max(1)).enumerate() {
            match self.shared {
                None => {
                    for sample in row {
                        let gray = clamp((i32::from(*sample) - matrix.black) * matrix.luma);
                        rgb.extend_from_slice(&[gray; 3]);
                    }
                }
                Some((across, down)) => {
                    let from = y / down * chroma_width;
                    let line = from..from + chroma_width;
                    let (Some(us), Some(vs)) = (u.get(line.clone()), v.get(line)) else { break };
                    for (samples, (u, v)) in row.chunks(across).zip(us.iter().zip(vs)) {
                        let (u, v) = (i32::from(*u) - 128, i32::from(*v) - 128);
                        let red = matrix.red_v * v;
                        let green = matrix.green_u * u + matrix.green_v * v;
                        let blue = matrix.blue_u * u;
                        for sample in samples {
                            let luma = (i32::from(*sample) - matrix.black) * matrix.luma;
                            rgb.extend_from_slice(&[clamp(luma + red), clamp(luma - green), clamp(luma + blue)]);
                        }
                    }
                }
            }
        }
        rgb
    }
}

fn clamp(fixed: i32) -> u8 {
    ((fixed + (1 << 15)) >> 16).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        // BT.601 and BT.709, limited: the colour bars of the recommendations, rounded.
        for (height, full, yuv, rgb) in [
            (2, false, [16, 128, 128], [0, 0, 0]),
            (2, false, [235, 128, 128], [255, 255, 255]),
            (2, false, [81, 90, 240], [254, 0, 0]),
            (2, false, [145, 54, 34], [0, 255, 1]),
            (2, false, [41, 240, 110], [0, 0, 255]),
            (720, false, [63, 102, 240], [255, 1, 0]),
            (720, false, [173, 42, 26], [0, 255, 1]),
            (720, false, [32, 240, 118], [1, 0, 255]),
            (2, true, [76, 85, 255], [254, 0, 0]),
            (2, true, [255, 128, 128], [255, 255, 255]),
            // Beyond black and white.
            (2, false, [0, 128, 128], [0, 0, 0]),
            (2, false, [255, 128, 128], [255, 255, 255]),
        ] {
            let layout = Layout { width: 1, height, shared: Some((1, 1)), full };
            let planes: Vec<u8> = yuv.iter().flat_map(|sample| vec![*sample; height]).collect();
            let found = layout.to_rgb(&planes);
            assert_eq!(found.len(), 3 * height);
            let near = found[..3].iter().zip(rgb).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1);
            assert!(near, "{height} {full} {yuv:?}: {:?}, expected {rgb:?}", &found[..3]);
        }
    }

    #[test]
    fn colours_are_shared_and_odd_sides_have_their_own() {
        let layout = |shared| Layout { width: 3, height: 3, shared, full: true };
        for (shared, bytes) in
            [(None, 9), (Some((1, 1)), 27), (Some((2, 1)), 9 + 12), (Some((2, 2)), 9 + 8), (Some((4, 1)), 9 + 6)]
        {
            assert_eq!(layout(shared).bytes(), Some(bytes), "{shared:?}");
            assert_eq!(layout(shared).to_rgb(&vec![128; bytes]), vec![128; 27], "{shared:?}");
        }
        // 4:2:0: the last column and the last row have colours of their own.
        let mut planes = vec![100u8; 9];
        planes.extend([128, 128, 128, 128, 128, 228, 128, 128]);
        let rgb = layout(Some((2, 2))).to_rgb(&planes);
        let red: Vec<u8> = rgb.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(red, [100, 100, 240, 100, 100, 240, 100, 100, 100]);
        assert_eq!(Layout { width: usize::MAX, height: 2, shared: None, full: true }.bytes(), None);
    }
}
