//! Bar charts, written by hand: a browser or a text editor shows them.

use std::fmt::Write;

/// One bar: a name, its length, and how far runs were apart.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

const NAME: f64 = 220.0;
const BARS: f64 = 460.0;
const FIGURE: f64 = 90.0;
const LINE: f64 = 26.0;

/// Draws horizontal bars, with a line from the lowest to the highest of each.
pub(crate) fn chart(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().fold(0.0, |longest: f64, bar| {
        longest.max(bar.high.max(bar.value))
    });
    let scale = if longest > 0.0 { BARS / longest } else { 0.0 };
    let height = 44.0 + LINE * bars.len() as f64;
    let width = NAME + BARS + FIGURE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for (number, bar) in bars.iter().enumerate() {
        let top = 36.0 + LINE * number as f64;
        let (text, middle) = (top + 16.0, top + 11.0);
        let fill = if bar.name.starts_with("switchback") {
            "#2563a8"
        } else {
            "#9aa5b1"
        };
        // Writing into a string cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{text}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{NAME}\" y=\"{y}\" width=\"{w:.1}\" height=\"18\" fill=\"{fill}\"/>\n\
             <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#111\"/>\n\
             <text x=\"{end:.1}\" y=\"{text}\">{value}</text>\n",
            x = NAME - 8.0,
            name = escape(&bar.name),
            y = top + 2.0,
            w = bar.value * scale,
            low = NAME + bar.low * scale,
            high = NAME + bar.high * scale,
            end = NAME + bar.value.max(bar.high) * scale + 6.0,
            value = figure(bar.value),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn figure(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_names_are_escaped() {
        let bar = |name: &str, value: f64| Bar {
            name: name.into(),
            value,
            low: value,
            high: value,
        };
        let svg = chart("a < b", &[bar("one", 5.0), bar("two", 10.0)]);
        assert!(svg.contains("a &lt; b"));
        assert!(svg.contains("width=\"230.0\"") && svg.contains("width=\"460.0\""));
        assert!(svg.ends_with("</svg>\n"));
        assert!(chart("empty", &[]).contains("</svg>"));
    }
}
