//! Plots of figures as SVG.

use std::path::{Path as FilePath, PathBuf};

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::report::{Cell, Measurement, Report};
use super::scenario::{Name, Path};

const SIZE: (u32, u32) = (760, 440);
const STEP_S: f64 = 0.5;

/// A plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("drawing {file}: {reason}")]
pub struct Error {
    file: String,
    reason: String,
}

type Line = (Path, Vec<(f64, f64)>);

/// The title and the labels of a plot.
struct Frame<'a> {
    file: &'a FilePath,
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

/// Draws a plot for each figure that the report has into this directory, and returns the files.
///
/// # Errors
/// [`Error`]: a file cannot be written.
pub fn draw(report: &Report, directory: &FilePath) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    type Figure = fn(&Measurement) -> Option<f64>;
    let by_connections: [(&str, &str, &str, Figure); 2] = [
        ("rate.svg", "Accepted requests in a second, 1 to 256 connections", "accepted/s", |one| {
            Some(one.figures.accepted_per_s)
        }),
        ("latency.svg", "Accept p99, 1 to 256 connections", "ms", |one| one.figures.p99_ms),
    ];
    for (name, title, y, figure) in by_connections {
        let lines = connections(report, figure);
        if lines.iter().any(|(_, points)| points.len() > 1) {
            let file = directory.join(name);
            logarithmic(&Frame { file: &file, title, x: "connections", y }, &lines)?;
            files.push(file);
        }
    }
    for (scenario, name, title) in [
        (Name::PostgresAway, "postgres-away.svg", "Accepted in a second while Postgres is away"),
        (Name::RabbitmqAway, "rabbitmq-away.svg", "Accepted in a second while RabbitMQ is away"),
    ] {
        let lines = timelines(report, scenario);
        if !lines.is_empty() {
            let file = directory.join(name);
            linear(&Frame { file: &file, title, x: "s", y: "accepted/s" }, &lines)?;
            files.push(file);
        }
    }
    Ok(files)
}

fn connections(report: &Report, figure: fn(&Measurement) -> Option<f64>) -> Vec<Line> {
    let points = |path| {
        let cells =
            report.cells().into_iter().filter(|cell| cell.scenario == Name::Zipf && cell.path == path);
        let point = |cell: Cell| {
            let connections = u32::try_from(cell.connections?).ok()?;
            Some((f64::from(connections), report.median(cell, figure)?.median))
        };
        cells.filter_map(point).collect()
    };
    Path::ALL.into_iter().map(|path| (path, points(path))).collect()
}

fn timelines(report: &Report, scenario: Name) -> Vec<Line> {
    let of = report.measurements.iter().filter(|one| one.cell.scenario == scenario);
    of.map(|one| {
        let at = (0_u32..).map(|step| f64::from(step) * STEP_S);
        (one.cell.path, at.zip(one.timeline_per_s.iter().copied()).collect())
    })
    .collect()
}

fn logarithmic(frame: &Frame<'_>, lines: &[Line]) -> Result<(), Error> {
    let (x, y) = (range(lines, |point| point.0), range(lines, |point| point.1));
    let x = (x.0..x.1 * 1.1).log_scale();
    let y = (y.0 / 2.0..y.1 * 2.0).log_scale();
    chart(frame, lines, x, y)
}

fn linear(frame: &Frame<'_>, lines: &[Line]) -> Result<(), Error> {
    let (x, y) = (range(lines, |point| point.0), range(lines, |point| point.1));
    chart(frame, lines, 0.0..x.1 + 0.5, 0.0..y.1 * 1.1 + 1.0)
}

/// The minimum and the maximum.
fn range(lines: &[Line], of: fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = || lines.iter().flat_map(|(_, points)| points.iter().map(of));
    let least = values().min_by(f64::total_cmp).unwrap_or(1.0);
    (least, values().max_by(f64::total_cmp).unwrap_or(1.0))
}

fn chart<X, Y>(frame: &Frame<'_>, lines: &[Line], x: X, y: Y) -> Result<(), Error>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let failed = |error: &dyn std::fmt::Display| Error {
        file: frame.file.display().to_string(),
        reason: error.to_string(),
    };
    let root = SVGBackend::new(frame.file, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(frame.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc(frame.x)
        .y_desc(frame.y)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|error| failed(&error))?;
    for (path, points) in lines.iter().filter(|(_, points)| !points.is_empty()) {
        let color = color(*path);
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
        chart
            .draw_series(line)
            .map_err(|error| failed(&error))?
            .label(path.name())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
        let dots = points.iter().map(|&point| Circle::new(point, 3, color.filled()));
        chart.draw_series(dots).map_err(|error| failed(&error))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}

/// Colours that are safe for red-green colour blindness (Okabe and Ito).
fn color(path: Path) -> RGBColor {
    match path {
        Path::MESSAGE => RGBColor(0, 114, 178),
        Path::DIRECT => RGBColor(213, 94, 0),
        Path::BATCHED => RGBColor(230, 159, 0),
        Path::Bare => RGBColor(0, 158, 115),
        Path::Nothing => RGBColor(110, 110, 110),
    }
}

fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_contains_its_lines_and_their_names() {
        let directory = std::env::temp_dir().join(format!("bench-plot-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("plot.svg");
        let lines = [
            (Path::MESSAGE, vec![(1.0, 100.0), (16.0, 1500.0), (256.0, 20_000.0)]),
            (Path::DIRECT, vec![(1.0, 90.0), (16.0, 600.0), (256.0, 550.0)]),
            (Path::Bare, Vec::new()),
        ];
        logarithmic(&Frame { file: &file, title: "A title", x: "across", y: "up" }, &lines).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        for said in ["A title", "across", "message", "direct", "<polyline"] {
            assert!(svg.contains(said), "{said}");
        }
        assert!(!svg.contains("bare"), "what was not measured is not named");
        linear(&Frame { file: &file, title: "Another", x: "s", y: "up" }, &lines[..1]).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("Another"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
