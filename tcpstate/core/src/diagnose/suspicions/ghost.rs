//! Sockets that are alive though no descriptor leads to them: closed while another thread waits in them, in flight in a
//! message between processes, or kept by `io_uring` or the kernel itself.

use tcpstate_common::TcpState;

use super::{Harm, blame_members};
use crate::diagnose::{
    NS_PER_MS,
    class::Class,
    format, naming,
    socket_view::SocketView,
    suspicion::{Key, Suspicion},
    view::View,
};

/// A socket that should have a holder, and was looked up more than once without one: iterating over all tasks' files
/// shows every descriptor, so what has none is kept by a system call that has not returned, by `io_uring`, or by a
/// message in flight.
pub(super) fn sort(view: &View<'_>, seen: &SocketView<'_>) -> Option<Key> {
    if view.ownerless_ms(seen)? < view.thresholds.frozen_ms {
        return None;
    }
    let former = view.history.holder(seen.socket().cookie);
    Some(view.key_of(Class::GhostReference, seen.socket().netns, former, None))
}

pub(super) fn judge(view: &View<'_>, suspicion: &mut Suspicion, members: &[&SocketView<'_>]) {
    let former = members.iter().find_map(|seen| view.history.holder(seen.socket().cookie));
    let waits = members.iter().any(|seen| seen.socket().state == TcpState::CloseWait);
    let since = members.iter().filter_map(|seen| view.history.ownerless_since_ns(seen.socket().cookie));
    let vain = since.min().unwrap_or(0);
    let vain_ms = view.evidence.holders.at_ns.saturating_sub(vain) / NS_PER_MS;
    let known = former.is_some() || waits;
    suspicion.harm = Some(if known {
        Harm::Hangs { count: suspicion.count, longest_ms: vain_ms }
    } else {
        Harm::NoneSeen("nothing tells that somebody waits for it".to_owned())
    });
    let sockets = format::count(suspicion.count, "socket");
    let one = suspicion.count == 1;
    let (is, it) = if one { ("is", "it") } else { ("are", "them") };
    suspicion.verdict = if let Some(holder) = former {
        suspicion.members = vec![holder.into()];
        blame_members(view, suspicion);
        format!(
            "{} closed fd {} but {sockets} of it {is} alive without a descriptor: another thread still waits in {it}, or it was sent to another process that has not taken it (SCM_RIGHTS)",
            naming::who_holds(view, holder),
            holder.fd
        )
    } else {
        suspicion.cannot_see.push(
            "who had them open: no descriptor leads to them any more, and none was seen before".to_owned(),
        );
        let user = members.iter().find_map(|seen| seen.socket().uid);
        let of = user.map_or_else(String::new, |user| format!(" of user {user}"));
        format!(
            "{sockets}{of} {is} alive without a descriptor: closed while another thread waits in {it}, in flight between processes in a message that none has taken (SCM_RIGHTS), or kept by io_uring or the kernel itself"
        )
    };
    "Call shutdown() before close() when another thread may be blocked in the socket; a process that is sent descriptors over a Unix socket has to receive them."
        .clone_into(&mut suspicion.remedy);
    suspicion.evidence.push(format!(
        "the descriptors of all processes were looked through for {}, and none leads to {it}",
        format::duration(vain_ms)
    ));
}
