//! What a diagnosis has found as metrics: findings, local ports in use, accept queues. However many destinations and
//! listeners there are, only the worst have series of their own.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    catalog,
    collect::{OTHER, single},
    family::{Family, number},
};
use crate::{
    diagnose::{Class, Severity, Status},
    serve::{ask::Diagnosed, figures},
    track::{NO_LIMIT, Socket},
};

/// The share of local ports from which on a destination is named: of the others there is always a new one.
const NAMED_FROM: f64 = 0.01;

/// All families; none before the first pass. `top` destinations and listeners are named.
pub(super) fn families(diagnosed: &Diagnosed, top: usize) -> Vec<Family> {
    if diagnosed.at_ns.is_none() {
        return Vec::new();
    }
    let mut families = vec![findings(diagnosed), ports(diagnosed, top)];
    families.extend(queues(diagnosed, top));
    families.extend(diagnosed.listen_overflows.map(|sum| single(catalog::LISTEN_OVERFLOWS, number(sum))));
    families
}

/// Every class with every severity, also at 0.
fn findings(diagnosed: &Diagnosed) -> Family {
    let mut family = Family::new(catalog::FINDINGS);
    for class in Class::ALL {
        for severity in Severity::ALL {
            let is_such = |finding: &&crate::diagnose::Finding| {
                finding.status == Status::Open && finding.class == class && finding.severity == severity
            };
            let count = diagnosed.findings.iter().filter(is_such).count();
            family.add([class.name(), severity.name()], number(count as u64));
        }
    }
    family
}

fn ports(diagnosed: &Diagnosed, top: usize) -> Family {
    // From several addresses or namespaces to the same place: the one with the fewest ports left.
    let mut worst = BTreeMap::<String, f64>::new();
    for destination in &diagnosed.destinations {
        if let Some(range) = figures::local_ports(destination.netns, diagnosed) {
            let ratio = number(destination.used()) / number(range);
            let so_far = worst.entry(destination.remote.to_string()).or_default();
            *so_far = so_far.max(ratio);
        }
    }
    let mut rows: Vec<_> = worst.into_iter().collect();
    rows.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let named = rows.iter().take(top).take_while(|(_, ratio)| *ratio >= NAMED_FROM).count();
    let rest = rows.split_off(named);
    let mut family = Family::new(catalog::PORTS_USED);
    for (destination, ratio) in &rows {
        family.add([destination.as_str()], *ratio);
    }
    family.add([OTHER], rest.first().map_or(0.0, |(_, ratio)| *ratio));
    family
}

/// How full a queue is: the larger, the fuller.
fn fullness(socket: &Socket) -> u64 {
    u64::from(socket.rqueue) * 1_000_000 / u64::from(socket.wqueue.max(1))
}

fn queues(diagnosed: &Diagnosed, top: usize) -> [Family; 2] {
    // Of several that are called the same (SO_REUSEPORT, namespaces) the fullest.
    let mut fullest = BTreeMap::<[String; 4], &Socket>::new();
    for (socket, _) in &diagnosed.listeners {
        let so_far = fullest.entry(labels(socket, diagnosed)).or_insert(socket);
        if fullness(socket) > fullness(so_far) {
            *so_far = socket;
        }
    }
    let mut rows: Vec<_> = fullest.into_iter().collect();
    rows.sort_by_key(|(_, socket)| Reverse(fullness(socket)));
    let rest = rows.split_off(top.min(rows.len()));
    let mut lengths = Family::new(catalog::LISTEN_QUEUE_LENGTH);
    let mut limits = Family::new(catalog::LISTEN_QUEUE_LIMIT);
    let mut add = |labels: [&str; 4], queue: u32, limit: u32| {
        lengths.add(labels, number(queue.into()));
        if limit != NO_LIMIT {
            limits.add(labels, number(limit.into()));
        }
    };
    for (labels, socket) in &rows {
        add(labels.each_ref().map(String::as_str), socket.rqueue, socket.wqueue);
    }
    let (queue, limit) = rest.first().map_or((0, 0), |(_, socket)| (socket.rqueue, socket.wqueue));
    add([OTHER; 4], queue, limit);
    [lengths, limits]
}

/// Comm, container, address and unit.
fn labels(socket: &Socket, diagnosed: &Diagnosed) -> [String; 4] {
    let holder = diagnosed.holders.of(socket).min();
    let seen = holder.and_then(|holder| diagnosed.processes.get(&holder.pid));
    [
        holder.map(|holder| holder.comm.to_string()).unwrap_or_default(),
        seen.and_then(|seen| seen.container.clone()).unwrap_or_default(),
        socket.tuple.local.to_string(),
        seen.and_then(|seen| seen.unit.clone()).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use prometheus::proto::MetricFamily;

    use super::*;
    use crate::serve::tests::{diagnosed, scene};

    /// The values by the labels' values, joined by commas.
    fn values(family: Family) -> Vec<(String, f64)> {
        let family = MetricFamily::from(family);
        let value = |sample: &prometheus::proto::Metric| {
            let labels: Vec<_> = sample.get_label().iter().map(|pair| pair.value().to_owned()).collect();
            (labels.join(","), sample.get_gauge().get_value())
        };
        family.get_metric().iter().map(value).collect()
    }

    #[test]
    fn every_class_is_there_and_what_is_resolved_does_not_count() {
        let found = values(findings(&diagnosed::diagnosed()));
        assert_eq!(found.len(), 35 * 3);
        let there: Vec<_> = found.into_iter().filter(|(_, count)| *count > 0.0).collect();
        let expected =
            [("close-wait-leak,critical".to_owned(), 1.0), ("close-wait-idle-pool,info".to_owned(), 1.0)];
        assert_eq!(there, expected);
    }

    #[test]
    fn the_series_of_destinations_are_bounded_and_the_rest_is_not_forgotten() {
        let mut diagnosed = diagnosed::diagnosed();
        let model = diagnosed.destinations[0].clone();
        diagnosed.destinations = (0..64_u8)
            .map(|last| {
                let mut destination = model.clone();
                destination.remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 80);
                destination.by_state[1] = u64::from(last);
                destination
            })
            .collect();
        let rows = values(ports(&diagnosed, 2));
        let expected =
            [("10.0.0.63:80", 153.0 / 200.0), ("10.0.0.62:80", 152.0 / 200.0), ("other", 151.0 / 200.0)];
        assert_eq!(rows, expected.map(|(label, ratio)| (label.to_owned(), ratio)));
    }

    #[test]
    fn a_destination_with_few_sockets_gets_no_series() {
        let mut diagnosed = diagnosed::diagnosed();
        diagnosed.destinations.truncate(1);
        if let Some(namespace) = diagnosed.namespaces.get_mut(&scene::NETNS) {
            namespace.sysctls.local_ports = Some((10_000, 59_999));
        }
        assert_eq!(values(ports(&diagnosed, 9)), [("other".to_owned(), 0.002)]);
    }

    #[test]
    fn a_range_that_is_not_known_gives_no_ratio() {
        let mut diagnosed = diagnosed::diagnosed();
        diagnosed.namespaces.clear();
        assert_eq!(values(ports(&diagnosed, 9)), [("other".to_owned(), 0.0)]);
    }

    #[test]
    fn of_listeners_with_one_name_the_fullest_is_shown() {
        let mut diagnosed = diagnosed::diagnosed();
        let mut twin = diagnosed.listeners[0].clone();
        twin.0.rqueue = 3;
        diagnosed.listeners.insert(0, twin);
        let [lengths, limits] = queues(&diagnosed, 1).map(values);
        let other = "other,other,other,other".to_owned();
        let worker = "worker,,0.0.0.0:8000,".to_owned();
        assert_eq!(lengths, [(worker.clone(), 129.0), (other.clone(), 0.0)]);
        assert_eq!(limits, [(worker, 128.0), (other, 0.0)]);
    }

    #[test]
    fn limit_that_the_kernel_does_not_say_is_left_out() {
        let mut diagnosed = diagnosed::diagnosed();
        diagnosed.listeners[0].0.wqueue = NO_LIMIT;
        let [lengths, limits] = queues(&diagnosed, 9).map(values);
        assert_eq!(lengths.len(), limits.len() + 1);
    }

    #[test]
    fn before_the_first_pass_nothing_is_claimed() {
        assert!(families(&Diagnosed::default(), 20).is_empty());
    }
}
