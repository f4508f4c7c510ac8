//! `/metrics`: Prometheus's text format. Each scrape takes its own readings and its own registry, so that
//! nothing is shared, and what does not exist any more is not exported any more.

mod catalog;
mod collect;
mod diagnosis;
mod family;

use std::collections::HashMap;

use axum::{extract::State, http::header, response::IntoResponse};
use prometheus::{
    Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{
    ask::{Diagnosed, Readings},
    problem::Problem,
    shared::{Own, Shared},
};
use crate::{clock, pulse::Pulses};

/// The media type of the text format.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The readings of one scrape, as a collector.
struct Snapshot {
    descriptions: Vec<Desc>,
    families: Vec<MetricFamily>,
}

impl Snapshot {
    fn of(
        readings: &Readings,
        diagnosed: &Diagnosed,
        pulses: &Pulses,
        own: &Own,
    ) -> prometheus::Result<Self> {
        let descriptions = catalog::ALL.iter().map(|metric| {
            let labels = metric.labels.iter().map(|&label| label.to_owned()).collect();
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new())
        });
        Ok(Self {
            descriptions: descriptions.collect::<Result<_, _>>()?,
            families: collect::families(readings, diagnosed, pulses, own),
        })
    }
}

impl Collector for Snapshot {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families.clone()
    }
}

fn page(
    readings: &Readings,
    diagnosed: &Diagnosed,
    pulses: &Pulses,
    own: &Own,
) -> prometheus::Result<String> {
    let registry = Registry::new();
    registry.register(Box::new(Snapshot::of(readings, diagnosed, pulses, own)?))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// All metrics, in Prometheus's text format.
///
/// Query parameters are ignored, since a scrape may be configured with some.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "self",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = 503, description = "The daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(State(shared): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let began_ns = clock::monotonic_ns();
    let readings = shared.readings().await?;
    let page = page(&readings, &shared.engine.diagnosed(), &shared.pulses, &shared.own).map_err(|error| {
        tracing::error!(%error, "the metrics could not be written");
        Problem::internal()
    })?;
    shared.own.scraped(clock::monotonic_ns().saturating_sub(began_ns));
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], page))
}
