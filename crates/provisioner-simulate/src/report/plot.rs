//! Draws runs over time, as SVG without scripts or fonts: instances by state, and waiting tasks.

use std::fmt::Write as _;

use crate::simulation::Moment;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const HEAD: f64 = 70.0;
const TALL: f64 = 200.0;
const SMALL: f64 = 70.0;
const GAP: f64 = 26.0;
const FOOT: f64 = 40.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
/// One column per pixel; more would not be visible.
const COLUMNS: usize = 1010;

/// The stacked layers from the bottom up: name and colour.
const LAYERS: [(&str, &str); 4] =
    [("busy", "#2b6cb0"), ("idle", "#a7c8ea"), ("booting", "#f0a04b"), ("requested", "#e5e0d8")];
const DEMAND: &str = "#1a202c";
const WAITING: &str = "#c53030";

/// A run to draw.
#[derive(Clone, Copy, Debug)]
pub struct PlottedRun<'a> {
    /// The heading.
    pub name: &'a str,
    /// A short summary beside the heading.
    pub note: &'a str,
    /// The state in every round.
    pub moments: &'a [Moment],
}

/// Draws the runs of one load one below the other, on a common time axis and scale.
pub fn plot(title: &str, runs: &[PlottedRun<'_>]) -> String {
    let ends = runs.iter().filter_map(|run| run.moments.last()).map(|last| last.at);
    let end = ends.max().unwrap_or(1).max(1);
    let runs: Vec<_> = runs.iter().map(|run| (run, columns(run.moments, end))).collect();
    let top = |column: &Column| column.layers.iter().sum::<f64>().max(column.demand);
    let all = || runs.iter().flat_map(|(_, columns)| columns);
    let most = round_up(all().map(top).fold(1.0, f64::max));
    let most_waiting = round_up(all().map(|column| column.waiting).fold(1.0, f64::max));
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    let height = HEAD + runs.len() as f64 * (TALL + SMALL + 2.0 * GAP) + FOOT;
    let mut svg = Svg(String::new());
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#2d3748\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    ));
    svg.text(LEFT, 26.0, "font-size=\"17\" font-weight=\"600\"", title);
    legend(&mut svg);
    let mut y = HEAD;
    for (run, columns) in &runs {
        svg.text(LEFT, y + 14.0, "font-size=\"13\" font-weight=\"600\"", run.name);
        svg.text(WIDTH - RIGHT, y + 14.0, "text-anchor=\"end\" fill=\"#4a5568\"", run.note);
        y += GAP - 6.0;
        let panel = Panel { top: y, height: TALL, most, end };
        panel.grid(&mut svg, "instances");
        layers(&mut svg, panel, columns);
        y += TALL + 12.0;
        let panel = Panel { top: y, height: SMALL, most: most_waiting, end };
        panel.grid(&mut svg, "waiting");
        panel.area(&mut svg, WAITING, columns.iter().map(|column| (0.0, column.waiting)));
        y += SMALL + 2.0 * GAP - 6.0;
    }
    times(&mut svg, y - GAP + 4.0, end);
    svg.0.push_str("</svg>\n");
    svg.0
}

/// Averages over one column of pixels.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    layers: [f64; 4],
    demand: f64,
    /// The maximum and not the average, because short peaks of waiting tasks matter.
    waiting: f64,
    n: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels"
)]
fn columns(run: &[Moment], end: u64) -> Vec<Column> {
    let mut columns = vec![Column::default(); COLUMNS];
    for moment in run {
        let at = (moment.at as f64 / end as f64 * (COLUMNS - 1) as f64) as usize;
        let Moment { at: _, pending, requested, booting, idle, busy } = *moment;
        let column = &mut columns[at.min(COLUMNS - 1)];
        for (layer, value) in column.layers.iter_mut().zip([busy, idle, booting, requested]) {
            *layer += value as f64;
        }
        column.demand += (pending + busy) as f64;
        column.waiting = column.waiting.max(pending as f64);
        column.n += 1.0;
    }
    let mut before = Column::default();
    for column in &mut columns {
        if column.n > 0.0 {
            column.layers = column.layers.map(|layer| layer / column.n);
            column.demand /= column.n;
            before = *column;
        } else {
            // Rounds are further apart than pixels; the last state still holds.
            *column = before;
        }
    }
    columns
}

/// Rounds up to a number that suits the end of an axis: one digit and zeros, or 2.5 and zeros.
fn round_up(value: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for digit in [1.0, 2.0, 2.5, 4.0, 5.0, 8.0] {
            if value <= digit * step {
                return digit * step;
            }
        }
        step *= 10.0;
    }
}

/// Returns the number of parts into which an axis is divided, such that their ends are round too.
fn parts(most: f64) -> f64 {
    let mut digits = most;
    while digits >= 10.0 {
        digits /= 10.0;
    }
    if [1.0, 2.5, 5.0].iter().any(|digit| (digits - digit).abs() < 1e-9) { 5.0 } else { 4.0 }
}

#[derive(Clone, Copy, Debug)]
struct Panel {
    top: f64,
    height: f64,
    most: f64,
    end: u64,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - value / self.most)
    }

    fn grid(&self, svg: &mut Svg, unit: &str) {
        let parts = if self.height > 100.0 { parts(self.most) } else { 2.0 };
        let mut part = 0.0;
        while part <= parts {
            let value = self.most * part / parts;
            let y = self.y(value);
            svg.add(format_args!(
                "<path d=\"M{LEFT} {y:.1}h{PLOT}\" stroke=\"#e2e8f0\" stroke-width=\"1\"/>\n"
            ));
            svg.text(LEFT - 6.0, y + 4.0, "text-anchor=\"end\" fill=\"#718096\"", &number(value));
            part += 1.0;
        }
        let (x, y) = (14.0, self.top + self.height / 2.0);
        let turned =
            format!("text-anchor=\"middle\" fill=\"#718096\" transform=\"rotate(-90 {x} {y:.1})\"");
        svg.text(x, y, &turned, unit);
        let mut hour = 0;
        while let Some(x) = self.x(hour) {
            svg.add(format_args!(
                "<path d=\"M{x:.1} {:.1}v{:.1}\" stroke=\"#edf2f7\" stroke-width=\"1\"/>\n",
                self.top, self.height
            ));
            hour += hours_between_marks(self.end);
        }
    }

    /// The position of an hour, if it is on the axis.
    fn x(&self, hour: u64) -> Option<f64> {
        x_of(hour, self.end)
    }

    /// Fills the area between two lines, given column by column.
    fn area(&self, svg: &mut Svg, colour: &str, column: impl Iterator<Item = (f64, f64)> + Clone) {
        if column.clone().all(|(low, high)| high <= low) {
            return;
        }
        svg.add(format_args!("<path fill=\"{colour}\" d=\"M"));
        svg.points(&self.points(column.clone().map(|(_, high)| high)));
        let mut under = self.points(column.map(|(low, _)| low));
        under.reverse();
        svg.points(&under);
        svg.0.push_str("Z\"/>\n");
    }

    fn line(&self, svg: &mut Svg, colour: &str, values: impl Iterator<Item = f64>) {
        svg.add(format_args!("<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"1\" d=\"M"));
        svg.points(&self.points(values));
        svg.0.push_str("\"/>\n");
    }

    /// Returns where the values of the columns are.
    fn points(&self, values: impl Iterator<Item = f64>) -> Vec<(String, String)> {
        let x = std::iter::successors(Some(LEFT), |x| Some(x + 1.0));
        x.zip(values)
            .map(|(x, value)| (format!("{x:.0}"), format!("{:.1}", self.y(value))))
            .collect()
    }
}

fn layers(svg: &mut Svg, panel: Panel, columns: &[Column]) {
    for (at, (_, colour)) in LAYERS.iter().enumerate() {
        let under = |column: &Column| column.layers[..at].iter().sum::<f64>();
        panel.area(
            svg,
            colour,
            columns.iter().map(|column| (under(column), under(column) + column.layers[at])),
        );
    }
    panel.line(svg, DEMAND, columns.iter().map(|column| column.demand));
}

fn legend(svg: &mut Svg) {
    let mut x = LEFT;
    let entries = LAYERS.into_iter().chain([("tasks waiting", WAITING)]);
    for (name, colour) in entries {
        svg.add(format_args!(
            "<rect x=\"{x:.0}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\n"
        ));
        svg.text(x + 17.0, 52.0, "", name);
        x += 100.0;
    }
    x += 20.0;
    svg.add(format_args!("<path d=\"M{x:.0} 48h14\" stroke=\"{DEMAND}\" stroke-width=\"1.5\"/>\n"));
    svg.text(x + 19.0, 52.0, "", "demand: tasks running and waiting");
}

fn times(svg: &mut Svg, y: f64, end: u64) {
    let step = hours_between_marks(end);
    let mut hour = 0;
    while let Some(x) = x_of(hour, end) {
        svg.text(x, y, "text-anchor=\"middle\" fill=\"#718096\"", &format!("{hour} h"));
        hour += step;
    }
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn x_of(hour: u64, end: u64) -> Option<f64> {
    let at = hour * 3_600_000;
    (at <= end).then(|| LEFT + at as f64 / end as f64 * PLOT)
}

/// Returns an interval that gives about a dozen marks.
fn hours_between_marks(end: u64) -> u64 {
    let hours = end / 3_600_000;
    [1, 2, 3, 6, 12, 24, 48, 168].into_iter().find(|step| hours / step <= 14).unwrap_or(hours / 10)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

struct Svg(String);

impl Svg {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(what);
    }

    /// Adds points to a path, without those within a level stretch, which are a third of them or more.
    fn points(&mut self, points: &[(String, String)]) {
        for (at, (x, y)) in points.iter().enumerate() {
            let is_level = |other: Option<usize>| {
                other.and_then(|other| points.get(other)).is_some_and(|(_, height)| height == y)
            };
            if !(is_level(at.checked_sub(1)) && is_level(Some(at + 1))) {
                self.add(format_args!("{x} {y} "));
            }
        }
    }

    fn text(&mut self, x: f64, y: f64, style: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.add(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(busy: u64) -> Vec<Moment> {
        let moment = |n: u64| Moment { at: n * 10_000, pending: n % 7, busy, ..Moment::default() };
        (0..5_000).map(moment).collect()
    }

    #[test]
    fn a_plot_names_what_it_shows_and_hides_no_markup() {
        let (one, other) = (run(3), run(70));
        let run = |name, moments| PlottedRun { name, note: "7 hours", moments };
        let svg = plot("a <b> & c", &[run("worker-manager", &one), run("adaptive", &other)]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for word in [
            "a &lt;b&gt; &amp; c",
            "worker-manager",
            "7 hours",
            "adaptive",
            "busy",
            "waiting",
            "12 h",
        ] {
            assert!(svg.contains(word), "{word}");
        }
        assert_eq!(svg.matches("<path fill=\"#2b6cb0\"").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_level_stretch_takes_two_points() {
        let moments = run(3);
        let svg = plot("level", &[PlottedRun { name: "basic", note: "", moments: &moments }]);
        let (_, busy) = svg.split_once("<path fill=\"#2b6cb0\" d=\"M").expect("the busy instances");
        let (points, _) = busy.split_once("Z\"").expect("its end");
        let points: Vec<_> = points.split_whitespace().collect();
        assert_eq!(points.len(), 8, "four corners: {points:?}");
        let across: Vec<_> = points.iter().step_by(2).copied().collect();
        assert_eq!(across, ["70", "1079", "1079", "70"]);
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        let run = PlottedRun { name: "basic", note: "", moments: &[] };
        assert!(!plot("nothing", &[run]).contains("NaN"));
    }

    #[test]
    fn axes_end_with_round_numbers() {
        for (value, top) in [(1.0, 1.0), (3.0, 4.0), (71.0, 80.0), (267.0, 400.0), (1815.0, 2000.0)]
        {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}");
        }
    }
}
