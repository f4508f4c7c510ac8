//! Building metric families out of plain numbers.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType,
};
use tcpstate_common::wire::{DWELL_BOUNDS_NS, Dwell};

use super::catalog::Metric;

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Family {
    metric: Metric,
    samples: Vec<Sample>,
}

impl Family {
    pub(super) fn new(metric: Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// Adds a number; `labels` are the values, in the order of the metric's labels.
    pub(super) fn add<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        let mut sample = self.sample(labels);
        if self.metric.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.samples.push(sample);
    }

    /// Adds the distribution of dwell times, which the kernel side counts in buckets apart.
    pub(super) fn add_dwell<const N: usize>(&mut self, labels: [&str; N], dwell: &Dwell) {
        let mut histogram = Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(DWELL_BOUNDS_NS.len());
        for (bound_ns, count) in DWELL_BOUNDS_NS.iter().zip(dwell.buckets) {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound_ns));
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(dwell.buckets.iter().sum());
        histogram.set_sample_sum(seconds(dwell.sum_ns));
        let mut sample = self.sample(labels);
        sample.set_histogram(histogram);
        self.samples.push(sample);
    }

    fn sample<const N: usize>(&self, values: [&str; N]) -> Sample {
        debug_assert_eq!(values.len(), self.metric.labels.len(), "{}", self.metric.name);
        let pairs = self.metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        Sample::from_label(pairs.collect())
    }
}

impl From<Family> for MetricFamily {
    fn from(family: Family) -> Self {
        let mut proto = Self::default();
        proto.set_name(family.metric.name.to_owned());
        proto.set_help(family.metric.help.to_owned());
        proto.set_field_type(family.metric.kind);
        proto.set_metric(family.samples);
        proto
    }
}

/// A count as Prometheus keeps it.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only f64, which is exact up to 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Nanoseconds as seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    number(ns) / 1e9
}

/// A condition as 1 or 0.
pub(super) fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::metrics::catalog;

    #[test]
    fn buckets_are_cumulative_and_the_last_one_is_in_the_count_alone() {
        let mut dwell = Dwell { sum_ns: 1_500_000_000, ..Dwell::default() };
        dwell.buckets[0] = 2;
        dwell.buckets[3] = 1;
        dwell.buckets[DWELL_BOUNDS_NS.len()] = 4;
        let mut family = Family::new(catalog::STATE_DURATION);
        family.add_dwell(["CLOSE_WAIT"], &dwell);
        let histogram = family.samples[0].get_histogram();
        let counts: Vec<_> = histogram.get_bucket().iter().map(Bucket::cumulative_count).collect();
        assert_eq!(counts, [2, 2, 2, 3, 3, 3, 3, 3, 3]);
        assert_eq!(histogram.get_sample_count(), 7);
        assert_eq!(histogram.get_sample_sum().to_string(), "1.5");
    }
}
