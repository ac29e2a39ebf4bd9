//! As much of SVG as four plots need.
//!
//! Written by hand, because a plotting library brings twenty crates and a background of its own. Here the
//! ground is left out and every colour is of middle lightness, so that a plot reads on a white page as on a
//! dark one; text stays text.

use std::fmt::Write as _;

/// Text and axes.
pub(super) const INK: &str = "#7d8590";
/// Series, told apart by people who see no red or no green too (after Okabe and Ito).
pub(super) const COLOURS: [&str; 5] = ["#0c86d0", "#e07b39", "#1fa37a", "#c065a8", "#a0a6ad"];

/// A picture that grows.
pub(super) struct Picture {
    width: f64,
    height: f64,
    body: String,
}

/// Where text stands at its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Picture {
    pub(super) fn new(width: f64, height: f64, title: &str, subtitle: &str) -> Self {
        let body = format!("<title>{}</title>\n", escaped(title));
        let mut picture = Self { width, height, body };
        picture.styled(
            (20.0, 28.0),
            Anchor::Start,
            title,
            "font-size=\"17\" font-weight=\"600\"",
        );
        picture.text((20.0, 48.0), Anchor::Start, subtitle);
        picture
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, text: &str) {
        self.styled(at, anchor, text, "");
    }

    /// Along the left side, upwards.
    pub(super) fn upwards(&mut self, at: (f64, f64), text: &str) {
        let turned = format!("transform=\"rotate(-90 {:.1} {:.1})\"", at.0, at.1);
        self.styled(at, Anchor::Middle, text, &turned);
    }

    fn styled(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str, more: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>"
        );
    }

    pub(super) fn line(&mut self, points: &[(f64, f64)], colour: &str, width: f64, more: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        let _ = writeln!(
            self.body,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" {more}/>"
        );
    }

    pub(super) fn dashed(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.line(&[from, to], colour, 1.3, "stroke-dasharray=\"6 4\"");
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>"
        );
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            width.max(0.5),
            height.max(0.0)
        );
    }

    /// A square and a name, one beside the other.
    pub(super) fn legend(&mut self, (mut x, y): (f64, f64), series: &[(String, &str)]) {
        for (name, colour) in series {
            self.bar((x, y - 10.0), 11.0, 11.0, colour);
            self.text((x + 16.0, y), Anchor::Start, name);
            x += 40.0 + 6.6 * name.chars().count() as f64;
        }
    }

    pub(super) fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" \
             font-size=\"12.5\" fill=\"{INK}\">\n{body}</svg>\n"
        )
    }
}

/// The area that figures are drawn in, from nothing at its foot.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) foot: f64,
    /// The figure at the top.
    pub(super) most: f64,
}

impl Area {
    pub(super) fn y(&self, figure: f64) -> f64 {
        self.foot - (self.foot - self.top) * figure / self.most
    }

    /// Where the one of `count` columns has its middle.
    pub(super) fn column(&self, index: usize, count: usize) -> f64 {
        self.left + (self.right - self.left) * (index as f64 + 0.5) / count.max(1) as f64
    }

    /// Lines across with their figures, and what they are figures of.
    pub(super) fn axis(&self, picture: &mut Picture, step: f64, label: &str) {
        let lines = (self.most / step).round() as usize;
        for line in 0..=lines {
            let figure = step * line as f64;
            let y = self.y(figure);
            let more = if line == 0 { "" } else { "stroke-opacity=\"0.28\"" };
            picture.line(&[(self.left, y), (self.right, y)], INK, 1.0, more);
            picture.text((self.left - 8.0, y + 4.0), Anchor::End, &number(figure));
        }
        picture.upwards((20.0, (self.top + self.foot) / 2.0), label);
    }
}

/// A round figure not below `most`, and the step in which it is reached.
pub(super) fn round_up(most: f64) -> (f64, f64) {
    if !most.is_finite() || most <= 0.0 {
        return (1.0, 0.5);
    }
    let power = 10_f64.powf(most.log10().floor());
    let wanted = most / 5.0;
    let steps = [0.1, 0.2, 0.25, 0.5, 1.0, 2.0].map(|step| step * power);
    let step = steps
        .into_iter()
        .find(|step| *step >= wanted)
        .unwrap_or(2.0 * power);
    ((most / step).ceil() * step, step)
}

/// `1,000,000`, or with decimals where it is small.
pub(super) fn number(figure: f64) -> String {
    if figure.fract().abs() > 1e-9 {
        let text = format!("{figure:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_a_round_figure() {
        assert_eq!(round_up(0.93), (1.0, 0.2));
        assert_eq!(round_up(10_000.0), (10_000.0, 2_000.0));
        assert_eq!(round_up(61_000.0), (80_000.0, 20_000.0));
        assert_eq!(round_up(0.0), (1.0, 0.5));
        for most in [0.011, 0.7, 3.3, 17.0, 123_456.0] {
            let (top, step) = round_up(most);
            assert!(
                top >= most && top < most * 2.0 && step > 0.0,
                "{most}: {top} by {step}"
            );
        }
    }

    #[test]
    fn figures_are_grouped_by_three() {
        let texts = [0.0, 1_000.0, 1_234_567.0, 0.25, 1.5].map(number);
        assert_eq!(texts, ["0", "1,000", "1,234,567", "0.25", "1.5"]);
    }
}
