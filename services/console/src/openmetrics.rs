//! Parses `OpenMetrics` text in the form that our processes write: samples with names and labels, and histograms.
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::collections::BTreeMap;

/// The samples of one or more processes; those of several processes are added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<Line>);

#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A histogram: the counts per bucket since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Upper bounds, each with the number of values up to it, in order; the last bound is infinite.
    buckets: Vec<(f64, f64)>,
    sum: f64,
}

impl Samples {
    /// Parses a text. Lines that are not samples are skipped.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect())
    }

    /// Adds the samples of another process.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The sum of the samples with this name and all of these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|line| line.value).sum()
    }

    /// The largest sample with this name.
    pub(crate) fn max(&self, name: &str) -> f64 {
        self.of(name, &[]).map(|line| line.value).fold(0.0, f64::max)
    }

    /// The histogram with this name, over the samples that have all of these labels.
    pub(crate) fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        // Bounds are not negative, and the bit patterns of non-negative floats sort like the floats.
        let mut buckets: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for line in self.of(&format!("{name}_bucket"), labels) {
            let bound =
                line.labels.iter().find(|(key, _)| key == "le").and_then(|(_, bound)| bound.parse().ok());
            if let Some(bound) = bound.filter(|bound: &f64| *bound >= 0.0) {
                buckets.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += line.value;
            }
        }
        Histogram { buckets: buckets.into_values().collect(), sum: self.sum(&format!("{name}_sum"), labels) }
    }

    fn of<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Line> {
        self.0.iter().filter(move |line| {
            line.name == name
                && labels.iter().all(|(key, value)| line.labels.iter().any(|(k, v)| k == key && v == value))
        })
    }
}

impl Histogram {
    /// The number of values.
    pub(crate) fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// The values added since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let same = earlier.buckets.iter().find(|(known, _)| known.to_bits() == bound.to_bits());
            same.map_or(0.0, |(_, count)| *count)
        };
        let buckets = self.buckets.iter().map(|&(bound, count)| (bound, (count - before(bound)).max(0.0)));
        Self { buckets: buckets.collect(), sum: self.sum - earlier.sum }
    }

    /// The mean; `None` without values.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count() > 0.0).then(|| self.sum / self.count())
    }

    /// The quantile at `share`, interpolated linearly within its bucket, as Prometheus does. `None` without values.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count();
        let mut below = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count >= rank && count > 0.0 {
                if bound.is_infinite() {
                    return Some(below.0);
                }
                let inside = count - below.1;
                let place = if inside > 0.0 { (rank - below.1) / inside } else { 1.0 };
                return Some(below.0 + (bound - below.0) * place);
            }
            below = (bound, count);
        }
        None
    }
}

/// Parses `name{label="value",…} 1.5`, with or without labels; ignores what follows the number.
fn line(text: &str) -> Option<Line> {
    let end = text.find(['{', ' '])?;
    let (name, rest) = text.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Line { name: name.to_owned(), labels, value })
}

/// Parses the labels up to and including the closing brace. In a value, a backslash escapes `\`, `"` and `n`.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()? {
                    (_, 'n') => value.push('\n'),
                    (_, letter) => value.push(letter),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.push((key.to_owned(), value));
        rest = quoted.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP accepted Events.
# TYPE accepted counter
accepted_total{path="message",kind="view"} 10
accepted_total{path="message",kind="like"} 2
accepted_total{path="direct",kind="view"} 5
odd{reason="a \"b\" {c}\\, d=\"\n"} 1 1700000000
plain 3.5
took_seconds_sum{path="direct"} 4.0
took_seconds_count{path="direct"} 4
took_seconds_bucket{le="0.5",path="direct"} 1
took_seconds_bucket{le="1.0",path="direct"} 3
took_seconds_bucket{le="+Inf",path="direct"} 4
nonsense
# EOF
"#;

    #[test]
    fn samples_are_summed_by_labels() {
        let mut samples = Samples::parse(TEXT);
        assert_eq!(samples.sum("accepted_total", &[("path", "message")]).to_bits(), 12_f64.to_bits());
        assert_eq!(samples.sum("plain", &[]).to_bits(), 3.5_f64.to_bits());
        assert_eq!(samples.sum("odd", &[("reason", "a \"b\" {c}\\, d=\"\n")]).to_bits(), 1_f64.to_bits());
        samples.extend(Samples::parse("accepted_total{path=\"message\"} 1"));
        assert_eq!(samples.sum("accepted_total", &[]).to_bits(), 18_f64.to_bits());
        assert_eq!(samples.max("accepted_total").to_bits(), 10_f64.to_bits());
    }

    #[test]
    fn histogram_computes_mean_and_quantiles() {
        let histogram = Samples::parse(TEXT).histogram("took_seconds", &[("path", "direct")]);
        assert_eq!(histogram.mean(), Some(1.0));
        assert_eq!(histogram.quantile(0.25), Some(0.5));
        assert_eq!(histogram.quantile(0.5), Some(0.75));
        assert_eq!(histogram.quantile(1.0), Some(1.0), "beyond the last bound nothing is known");
        let nothing = histogram.since(&histogram);
        assert_eq!((nothing.count(), nothing.mean(), nothing.quantile(0.5)), (0.0, None, None));
    }

    #[test]
    fn truncated_text_does_not_panic() {
        for end in 0..TEXT.len() {
            let _ = Samples::parse(&TEXT[..end]);
        }
    }
}
