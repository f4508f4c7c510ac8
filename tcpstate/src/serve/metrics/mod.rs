//! `/metrics`: Prometheus's text format, or `OpenMetrics`, as the scraper wants it. Each scrape takes its own readings
//! and its own registry, so that nothing is shared, and what does not exist any more is not exported any more.

mod catalog;
mod collect;
mod diagnosis;
mod family;
mod format;

use std::{
    collections::HashMap,
    fmt::Display,
    io::{self, Write},
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use prometheus::{
    Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use self::format::Format;
use super::{
    ask::{Diagnosed, Readings},
    http::accept::wants,
    problem::Problem,
    shared::{Own, Shared},
};
use crate::{clock, pulse::Pulses};

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

fn gather(
    readings: &Readings,
    diagnosed: &Diagnosed,
    pulses: &Pulses,
    own: &Own,
) -> prometheus::Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    registry.register(Box::new(Snapshot::of(readings, diagnosed, pulses, own)?))?;
    Ok(registry.gather())
}

/// All metrics, in Prometheus's text format, or as `OpenMetrics` where the request prefers that; as gzip where it takes
/// that.
///
/// Query parameters are ignored, since a scrape may be configured with some.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "self",
    responses(
        (status = 200, description = "The metrics", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
        (status = 503, description = "The daemon is ending", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let began_ns = clock::monotonic_ns();
    let readings = shared.readings().await?;
    let format = Format::wanted(&headers);
    let failed = |error: &dyn Display| {
        tracing::error!(%error, "the metrics could not be written");
        Problem::internal()
    };
    let page = gather(&readings, &shared.engine.diagnosed(), &shared.pulses, &shared.own)
        .and_then(|families| format.page(&families))
        .map_err(|error| failed(&error))?;
    let kind = [(header::CONTENT_TYPE, format.media_type()), (header::VARY, "accept, accept-encoding")];
    let response = if wants(&headers, header::ACCEPT_ENCODING, "gzip") {
        let mut response = (kind, gzip(page.as_bytes()).map_err(|error| failed(&error))?).into_response();
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        (kind, page).into_response()
    };
    shared.own.scraped(clock::monotonic_ns().saturating_sub(began_ns));
    Ok(response)
}

/// At once and not while it is sent, so that a slow reader holds no more than the result.
fn gzip(page: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(page)?;
    encoder.finish()
}
