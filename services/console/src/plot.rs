//! A line chart drawn on the server as SVG: no script, no library.

use std::fmt::Write;

use maud::{Markup, html};

/// In units of the drawing, which is stretched to the available width.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 64.0;
/// Room for the stroke of the line.
const MARGIN: f64 = 2.0;

/// Draws values in the order of time, the newest last, on a scale from 0 to the larger of their maximum and `at_least`.
/// Unknown values leave a gap. `label` describes the chart for screen readers.
pub(crate) fn line(values: &[Option<f64>], places: usize, at_least: f64, label: &str) -> Markup {
    let highest = values.iter().flatten().copied().fold(at_least, f64::max);
    let points = points(values, places, highest);
    html! {
        svg.plot viewBox={"0 0 " (WIDTH) " " (HEIGHT)} preserveAspectRatio="none" role="img" aria-label=(label) {
            line.grid x1="0" x2=(WIDTH) y1=(MARGIN) y2=(MARGIN) {}
            line.grid x1="0" x2=(WIDTH) y1=(HEIGHT - MARGIN) y2=(HEIGHT - MARGIN) {}
            @for run in &points {
                path.area d=(area(run)) {}
                path.stroke d=(stroke(run)) {}
            }
        }
    }
}

/// Draws the parts of a whole side by side; each part has its own class.
pub(crate) fn shares(parts: &[(usize, f64)], label: &str) -> Markup {
    let whole: f64 = parts.iter().map(|(_, share)| share).sum();
    let mut end = 0.0;
    let bars = parts.iter().map(|&(class, share)| {
        let width = if whole > 0.0 { share / whole * WIDTH } else { 0.0 };
        let begin = end;
        end += width;
        (class, format!("{begin:.2}"), format!("{width:.2}"))
    });
    html! {
        svg.shares viewBox={"0 0 " (WIDTH) " 12"} preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (class, begin, width) in bars {
                rect class={"part-" (class)} x=(begin) y="0" width=(width) height="12" {}
            }
        }
    }
}

/// The runs of values without a gap, as points.
fn points(values: &[Option<f64>], places: usize, highest: f64) -> Vec<Vec<(f64, f64)>> {
    let step = WIDTH / (places.max(2) - 1) as f64;
    let first = places.saturating_sub(values.len());
    let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (place, value) in values.iter().enumerate() {
        match value {
            Some(value) if value.is_finite() => {
                let share = if highest > 0.0 { (value / highest).clamp(0.0, 1.0) } else { 0.0 };
                let point =
                    ((first + place) as f64 * step, HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN));
                if let Some(run) = runs.last_mut() {
                    run.push(point);
                }
            }
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn stroke(run: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (place, (x, y)) in run.iter().enumerate() {
        // Writing to a string does not fail.
        let _infallible = write!(path, "{}{x:.1} {y:.1}", if place == 0 { "M" } else { "L" });
    }
    path
}

fn area(run: &[(f64, f64)]) -> String {
    let (Some((begin, _)), Some((end, _))) = (run.first(), run.last()) else { return String::new() };
    format!("{}L{end:.1} {HEIGHT}L{begin:.1} {HEIGHT}Z", stroke(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_is_right_aligned_and_keeps_gaps() {
        let drawn = points(&[Some(0.0), None, Some(5.0), Some(10.0)], 5, 10.0);
        assert_eq!(drawn, [vec![(75.0, 62.0)], vec![(225.0, 32.0), (300.0, 2.0)]]);
        assert_eq!(stroke(&drawn[1]), "M225.0 32.0L300.0 2.0");
    }

    #[test]
    fn empty_series_draws_nothing() {
        assert!(points(&[], 10, 0.0).is_empty());
        let drawn = line(&[None, Some(f64::NAN)], 2, 0.0, "a \"label\"").into_string();
        assert!(drawn.contains("aria-label=\"a &quot;label&quot;\""), "{drawn}");
    }

    #[test]
    fn shares_fill_the_width() {
        let drawn = shares(&[(0, 1.0), (1, 3.0)], "x").into_string();
        assert!(drawn.contains("x=\"75.00\"") && drawn.contains("width=\"225.00\""), "{drawn}");
    }
}
