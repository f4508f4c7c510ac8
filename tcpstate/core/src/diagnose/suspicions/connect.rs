//! Connects that failed.

use super::{Harm, ports};
use crate::diagnose::{
    events::{EHOSTUNREACH, Group},
    format, naming,
    suspicion::Suspicion,
    view::View,
};

/// A RST to a SYN: nothing listens there (RFC 9293 section 3.5.2).
pub(super) fn refused(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    let thresholds = view.thresholds;
    let who = naming::who(view, &suspicion.members);
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    let lasting = group.lasted_ms() >= thresholds.refused_for_ms;
    suspicion.harm = match suspicion.count {
        count if count < thresholds.refused => None,
        count if count >= thresholds.many_events && lasting => Some(Harm::fails("connect", count)),
        _ => Some(Harm::NoneSeen(
            "a program that waits until its server has started looks the same".to_owned(),
        )),
    };
    suspicion.verdict = format!(
        "{} of {who} to {peer} {} refused: nothing listens there",
        format::count(suspicion.count, "connect"),
        if suspicion.count == 1 { "was" } else { "were" }
    );
    "Start the service, or correct the address; and wait longer between attempts."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push("the connects ended with ECONNREFUSED (111)".to_owned());
}

/// No ARP answer within three seconds (`EHOSTUNREACH`), or no answer to any SYN (`ETIMEDOUT`).
pub(super) fn unreachable(view: &View<'_>, suspicion: &mut Suspicion, group: &Group) {
    let who = naming::who(view, &suspicion.members);
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    suspicion.harm = Some(Harm::fails("connect", suspicion.count));
    let (error, why) = match group.errno {
        EHOSTUNREACH => ("EHOSTUNREACH (113)", "no neighbour or router takes the packets"),
        _ => ("ETIMEDOUT (110)", "no SYN was answered"),
    };
    suspicion.verdict =
        format!("{} of {who} to {peer} failed: {why}", format::count(suspicion.count, "connect"));
    "Check the route and the neighbour (ip route get, ip neigh), and firewalls on the way that drop SYNs."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!("the connects ended with {error}"));
}

/// The kernel found no local port for a connect.
pub(super) fn no_port(view: &View<'_>, suspicion: &mut Suspicion) {
    let who = naming::who(view, &suspicion.members);
    let peer = suspicion.subject.peer.clone().unwrap_or_default();
    suspicion.harm = Some(Harm::FailsForAll);
    let all = ports::ports(view, suspicion.key.netns);
    suspicion.verdict = format!(
        "{} of {who} to {peer} failed for lack of a local port, of which there are {}",
        format::count(suspicion.count, "connect"),
        format::digits(all)
    );
    "Reuse connections (keep-alive, a pool); until then widen net.ipv4.ip_local_port_range or set net.ipv4.tcp_tw_reuse=1."
        .clone_into(&mut suspicion.remedy);
    suspicion
        .evidence
        .push(format!("{} ended with EADDRNOTAVAIL (99)", format::count(suspicion.count, "connect")));
}
