//! What the engine and the collectors say, in the words of the rules.

use std::io;

use crate::{
    diagnose::evidence::{Counters, Paused, Process, Sysctls, TcpInfo},
    observe::evidence::{
        counters::{self, Counter},
        process::{self, Activity},
        sockstat::Sockstat,
        sysctls, tcp_info,
    },
};

pub(super) fn info(info: &tcp_info::TcpInfo, at_ns: u64) -> TcpInfo {
    TcpInfo {
        at_ns,
        last_data_sent_ms: Some(info.last_data_sent_ms),
        last_data_recv_ms: Some(info.last_data_recv_ms),
        last_ack_recv_ms: Some(info.last_ack_recv_ms),
        bytes_acked: info.bytes_acked,
        bytes_received: info.bytes_received,
        bytes_sent: info.bytes_sent,
        notsent_bytes: info.notsent_bytes,
        snd_wnd: info.snd_wnd,
        rto_us: Some(info.rto_us),
        rtt_us: Some(info.rtt_us),
        probes: Some(info.probes),
        backoff: Some(info.backoff),
        total_retrans: Some(info.total_retrans),
    }
}

pub(super) fn counters(counters: Option<&counters::Counters>, sockstat: Option<Sockstat>) -> Counters {
    let sockstat = sockstat.unwrap_or_default();
    let get = |counter| counters?.get(counter);
    Counters {
        active_opens: get(Counter::ActiveOpens),
        passive_opens: get(Counter::PassiveOpens),
        attempt_fails: get(Counter::AttemptFails),
        estab_resets: get(Counter::EstabResets),
        out_rsts: get(Counter::OutRsts),
        listen_overflows: get(Counter::ListenOverflows),
        listen_drops: get(Counter::ListenDrops),
        embryonic_rsts: get(Counter::EmbryonicRsts),
        syncookies_sent: get(Counter::SyncookiesSent),
        syncookies_recv: get(Counter::SyncookiesRecv),
        req_q_full_do_cookies: get(Counter::ReqQFullDoCookies),
        req_q_full_drop: get(Counter::ReqQFullDrop),
        abort_on_close: get(Counter::AbortOnClose),
        abort_on_data: get(Counter::AbortOnData),
        abort_on_timeout: get(Counter::AbortOnTimeout),
        time_wait_overflow: get(Counter::TimeWaitOverflow),
        syn_retrans: get(Counter::SynRetrans),
        time_wait_ended: get(Counter::TimeWaitEnded),
        time_wait_reused: get(Counter::TimeWaitReused),
        orphans: sockstat.orphans,
        time_waits: sockstat.minis,
    }
}

/// What was added from one reading to the next. A counter that is less than it was is another namespace's by now.
pub(super) fn delta(now: &Counters, before: &Counters) -> Counters {
    let since = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
    Counters {
        active_opens: since(now.active_opens, before.active_opens),
        passive_opens: since(now.passive_opens, before.passive_opens),
        attempt_fails: since(now.attempt_fails, before.attempt_fails),
        estab_resets: since(now.estab_resets, before.estab_resets),
        out_rsts: since(now.out_rsts, before.out_rsts),
        listen_overflows: since(now.listen_overflows, before.listen_overflows),
        listen_drops: since(now.listen_drops, before.listen_drops),
        embryonic_rsts: since(now.embryonic_rsts, before.embryonic_rsts),
        syncookies_sent: since(now.syncookies_sent, before.syncookies_sent),
        syncookies_recv: since(now.syncookies_recv, before.syncookies_recv),
        req_q_full_do_cookies: since(now.req_q_full_do_cookies, before.req_q_full_do_cookies),
        req_q_full_drop: since(now.req_q_full_drop, before.req_q_full_drop),
        abort_on_close: since(now.abort_on_close, before.abort_on_close),
        abort_on_data: since(now.abort_on_data, before.abort_on_data),
        abort_on_timeout: since(now.abort_on_timeout, before.abort_on_timeout),
        time_wait_overflow: since(now.time_wait_overflow, before.time_wait_overflow),
        syn_retrans: since(now.syn_retrans, before.syn_retrans),
        time_wait_ended: since(now.time_wait_ended, before.time_wait_ended),
        time_wait_reused: since(now.time_wait_reused, before.time_wait_reused),
        orphans: None,
        time_waits: None,
    }
}

pub(super) fn sysctls(found: &sysctls::Sysctls) -> Sysctls {
    Sysctls {
        local_ports: found.local_ports,
        reserved_local_ports: found.reserved_local_ports,
        tw_reuse: narrow(found.tw_reuse),
        max_tw_buckets: found.max_tw_buckets,
        abort_on_overflow: found.abort_on_overflow.map(|on| on != 0),
        somaxconn: narrow(found.somaxconn),
        max_syn_backlog: narrow(found.max_syn_backlog),
        syncookies: narrow(found.syncookies),
        max_orphans: found.max_orphans,
        orphan_retries: narrow(found.orphan_retries),
        fin_timeout_s: narrow(found.fin_timeout_s),
        keepalive_time_s: narrow(found.keepalive_time_s),
        retries2: narrow(found.retries2),
        syn_retries: narrow(found.syn_retries),
    }
}

fn narrow<T: TryFrom<u64>>(number: Option<u64>) -> Option<T> {
    number.and_then(|number| T::try_from(number).ok())
}

/// A process that was looked at.
pub(super) fn process(looked: io::Result<process::Process>) -> io::Result<Process> {
    let seen = match looked {
        Ok(seen) if seen.activity != Activity::Ended => seen,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(Process { exited: true, ..Process::default() }),
    };
    let paused = match seen.activity {
        Activity::Stopped => Some(Paused::Stopped),
        Activity::Traced => Some(Paused::Traced),
        // Where its cgroup cannot be seen it may be frozen.
        _ => seen.frozen.map(|frozen| if frozen { Paused::Frozen } else { Paused::No }),
    };
    Ok(Process {
        start_boottime_ns: Some(seen.start_boottime_ns),
        exited: false,
        paused,
        fds: seen.open_files,
        fd_limit: seen.open_files_limit,
        comm: Some(seen.comm),
        exe: seen.owner.exe,
        script: seen.script,
        unit: seen.owner.unit,
        container: seen.owner.container,
        pod: seen.owner.pod,
        ppid: Some(seen.ppid),
    })
}
