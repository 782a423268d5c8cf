//! Metrics of a process's pools, read at each scrape. Taking a connection updates no metric. All services share this code, so
//! one alert covers all of them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::Pool;

/// Registers the pools of a process, each under a name that says what it is used for. Call it once per registry.
pub fn register_pools<'a>(
    registry: &mut Registry,
    pools: impl IntoIterator<Item = (&'static str, &'a Pool)>,
) {
    let pools = pools.into_iter().map(|(name, pool)| (name, pool.clone())).collect();
    registry.register_collector(Box::new(Pools(pools)));
}

#[derive(Debug)]
struct Pools(Vec<(&'static str, Pool)>);

/// One gauge, reported for every pool.
struct Measure {
    name: &'static str,
    meaning: &'static str,
    of: fn(&deadpool_postgres::Status) -> usize,
}

const MEASURES: [Measure; 4] = [
    Measure { name: "database_pool_connections", meaning: "Open connections", of: |status| status.size },
    Measure {
        name: "database_pool_connections_available",
        meaning: "Open connections that are idle in the pool",
        of: |status| status.available,
    },
    Measure {
        name: "database_pool_connections_max",
        meaning: "Maximum connections of the pool: database.pool_max, or this pool's share of it",
        of: |status| status.max_size,
    },
    Measure {
        name: "database_pool_waiting",
        meaning: "Callers waiting for a connection",
        of: |status| status.waiting,
    },
];

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pools: Vec<_> = self.0.iter().map(|(name, pool)| (*name, pool.status())).collect();
        for measure in &MEASURES {
            let mut gauge =
                encoder.encode_descriptor(measure.name, measure.meaning, None, MetricType::Gauge)?;
            for (name, status) in &pools {
                let value = i64::try_from((measure.of)(status)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(gauge.encode_family(&[("pool", *name)])?)?;
            }
        }
        Ok(())
    }
}
