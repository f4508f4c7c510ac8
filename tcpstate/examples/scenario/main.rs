//! The processes of `cargo xtask scenarios`: `scenario PART SEED [KEY=VALUE…]` plays one part, a program that uses
//! TCP wrongly or rightly. Numbers and times come from the seed, so that no two runs are alike.
//!
//! A part tells its director on stdout: `at ADDRESS` where it listens, `fd N` and `no-fd N` which descriptors a
//! verdict may name, `pid N` a child that belongs to it, `ready`, and `stands` when the signature is there. A line
//! on stdin tells it to go on; the end of stdin ends it.

mod accept;
mod close_wait;
mod descriptors;
mod holders;
mod innocent;
mod kit;
mod packet;
mod path;
mod pools;
mod ports;
mod reset;
mod talk;
mod unanswered;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use kit::Part;

type Play = fn(&mut Part) -> io::Result<()>;

const PARTS: [(&str, Play); 83] = [
    ("server", innocent::server),
    ("visitor", innocent::visitor),
    ("keeper", innocent::keeper),
    ("sleeper", innocent::sleeper),
    ("feed", innocent::feed),
    ("paused-consumer", innocent::paused_consumer),
    ("forgetful-server", close_wait::forgetful_server),
    ("late-closer", close_wait::late_closer),
    ("deadlocked-server", close_wait::deadlocked_server),
    ("slow-reader", close_wait::slow_reader),
    ("uploader", close_wait::uploader),
    ("hoarding-pool", close_wait::hoarding_pool),
    ("export-server", close_wait::export_server),
    ("half-closer", close_wait::half_closer),
    ("proxy", close_wait::proxy),
    ("file-server", close_wait::file_server),
    ("body-leaker", close_wait::body_leaker),
    ("stopping-server", holders::stopping_server),
    ("spawning-server", holders::spawning_server),
    ("idle-helper", holders::idle_helper),
    ("leaver", holders::leaver),
    ("prefork", holders::prefork),
    ("fork-per-connection", holders::fork_per_connection),
    ("activator", holders::activator),
    ("activated", holders::activated),
    ("handing-over", holders::handing_over),
    ("taker", holders::taker),
    ("cancelling-client", holders::cancelling_client),
    ("in-flight", holders::in_flight),
    ("headless-server", holders::headless_server),
    ("stalled-server", accept::stalled_server),
    ("leisurely-acceptor", accept::leisurely_acceptor),
    ("slow-acceptor", accept::slow_acceptor),
    ("crowded-server", accept::crowded_server),
    ("deferring-server", accept::deferring_server),
    ("crowd", accept::crowd),
    ("bursts", accept::bursts),
    ("silent-clients", accept::silent_clients),
    ("syn-sender", accept::syn_sender),
    ("flooded-server", accept::flooded_server),
    ("exhauster", ports::exhauster),
    ("many-destinations", ports::many_destinations),
    ("churner", ports::churner),
    ("overflowing-churner", ports::overflowing_churner),
    ("self-connector", ports::self_connector),
    ("impatient-server", reset::impatient_server),
    ("killer", reset::killer),
    ("aborter", reset::aborter),
    ("restarting-server", reset::restarting_server),
    ("restarted-server", reset::restarted_server),
    ("refused-client", reset::refused_client),
    ("fallback-client", reset::fallback_client),
    ("waiting-probe", reset::waiting_probe),
    ("metronome", reset::metronome),
    ("vanishing-clients", reset::vanishing_clients),
    ("vanishing-server", reset::vanishing_server),
    ("rare-speaker", reset::rare_speaker),
    ("crashing-server", reset::crashing_server),
    ("stubborn-clients", reset::stubborn_clients),
    ("poster", reset::poster),
    ("hung-server", unanswered::hung_server),
    ("relay", unanswered::relay),
    ("announcer", unanswered::announcer),
    ("subscribers", unanswered::subscribers),
    ("keeping-client", pools::keeping_client),
    ("growing-pool", pools::growing_pool),
    ("silent-users", pools::silent_users),
    ("careless-pool", pools::careless_pool),
    ("log-senders", pools::log_senders),
    ("collector", pools::collector),
    ("polite-clients", pools::polite_clients),
    ("purging-pool", pools::purging_pool),
    ("keepalive-server", path::keepalive_server),
    ("connector", path::connector),
    ("scanner", path::scanner),
    ("heartbeat", path::heartbeat),
    ("listener-client", path::listener_client),
    ("closer", path::closer),
    ("asker", path::asker),
    ("shutdown-client", path::shutdown_client),
    ("long-job", path::long_job),
    ("burst-closer", path::burst_closer),
    ("slow-takers", path::slow_takers),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((_, play)) = PARTS.iter().find(|(part, _)| *part == name) else {
        let names: Vec<_> = PARTS.iter().map(|(part, _)| *part).collect();
        let _ = writeln!(io::stderr(), "no part {name}; there are {}", names.join(", "));
        return ExitCode::from(2);
    };
    match play(&mut Part::of(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
