//! A scene as SVG 1.1.

use std::fmt::Write;

use super::scene::{Anchor, Colour, Mark, Scene};

/// The text of an SVG file. Texts are set in the viewer's sans-serif font.
pub(super) fn svg(scene: &Scene) -> String {
    let mut out = String::new();
    let Scene { width, height, .. } = scene;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"Roboto, Helvetica, Arial, sans-serif\">\n\
         <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>",
        escaped(&scene.description)
    );
    for mark in &scene.marks {
        let _ = writeln!(out, "{}", element(mark));
    }
    out.push_str("</svg>\n");
    out
}

fn element(mark: &Mark) -> String {
    match mark {
        Mark::Line { from, to, colour, width, dashed } => format!(
            "<line x1=\"{:.2}\" y1=\"{:.2}\" x2=\"{:.2}\" y2=\"{:.2}\" stroke=\"{}\" stroke-width=\"{width}\"{}/>",
            from.0,
            from.1,
            to.0,
            to.1,
            hex(*colour),
            if *dashed { " stroke-dasharray=\"5 4\"" } else { "" },
        ),
        Mark::Curve { class, pieces, colour, width } => {
            let mut path = String::new();
            for piece in pieces {
                for (index, (x, y)) in piece.iter().enumerate() {
                    let _ = write!(path, "{}{x:.2} {y:.2}", if index == 0 { 'M' } else { 'L' });
                }
            }
            format!(
                "<path class=\"{class}\" d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
                hex(*colour)
            )
        }
        Mark::Dot { at, radius, colour, ring } => {
            let colour = hex(*colour);
            let paint = match ring {
                true => format!("fill=\"#ffffff\" stroke=\"{colour}\" stroke-width=\"2.5\""),
                false => format!("fill=\"{colour}\""),
            };
            format!("<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"{radius}\" {paint}/>", at.0, at.1)
        }
        Mark::Text { at, size, anchor, colour, text } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            format!(
                "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
                at.0,
                at.1,
                hex(*colour),
                escaped(text)
            )
        }
    }
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The text with XML's own characters escaped, and without what XML 1.0 section 2.2 does not allow.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        for (text, expected) in [
            ("a < b & \"c\" > d", "a &lt; b &amp; &quot;c&quot; &gt; d"),
            ("two\nlines", "two lines"),
            ("\0\u{1b}\u{ffff}x", "x"),
            ("Größe ≤ 5", "Größe ≤ 5"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn a_gap_begins_a_new_line() {
        let pieces = vec![vec![(0.0, 1.0), (2.0, 3.0)], vec![(4.0, 5.0)]];
        let curve = Mark::Curve { class: "training loss", pieces, colour: [0, 114, 178], width: 2.0 };
        assert_eq!(
            element(&curve),
            "<path class=\"training loss\" d=\"M0.00 1.00L2.00 3.00M4.00 5.00\" fill=\"none\" stroke=\"#0072b2\" \
             stroke-width=\"2\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/>"
        );
    }
}
