//! A server, or a client, has seen the end of its connections and does not close them.

use anyhow::Result;

use super::{
    super::{
        case::{Case, Want},
        program::{
            BOARD_RB, CHECKER_PY, FEEDS_PY, GATE_JAVA, MAILBOX_ERL, POSTERS_PY, QUOTES_RU, UNICORN_CONF_RB,
            VISITORS_PY,
        },
        stage::Stage,
    },
    servers,
};

const LEAK: &[&str] = &["close-wait-leak"];

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "erlang-passive-sockets",
        "an Erlang server answers, and never looks at its passive sockets again, so that their end is not seen",
        erlang,
        // The requests were read, and the end was not: either class leads to the socket that nobody reads any more.
        &[Want::warning(&["close-wait-leak", "close-wait-never-read"], &["server"]).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait sport = :7401", 70)),
    Case::bug(
        "ruby-end-of-stream",
        "the threads of a Ruby server read to the end of the stream, and leave the sockets open",
        ruby,
        &[Want::warning(LEAK, &["server"]).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait sport = :7402", 70)),
    Case::bug(
        "unicorn-workers-leak",
        "each of four Unicorn workers keeps the sockets of a feed that it has read to the end",
        unicorn,
        &[Want::warning(LEAK, &["app"]).says(&["127.0.0.1:7300"]).processes(4).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait dport = :7300", 70)),
    Case::bug(
        "half-closed-checks",
        "health checks end their direction and wait, and a Java server takes them for silent clients and keeps them",
        checks,
        &[Want::warning(LEAK, &["server"]).within(60)],
    )
    .proof(|stage| stage.ensure_sockets("state close-wait sport = :7404", 60)),
];

fn erlang(stage: &mut Stage) -> Result<()> {
    let words = stage.install(MAILBOX_ERL)?;
    stage.start("server", &format!("{words} -port 7401"))?;
    stage.until_listening(7401)?;
    stage.play("clients", POSTERS_PY, "7401 0.83")?;
    stage.until_said("clients", "served 4")
}

fn ruby(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", BOARD_RB, 7402, "")?;
    stage.play("clients", POSTERS_PY, "7402 0.77")?;
    stage.until_said("clients", "served 4")
}

fn unicorn(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "feed", FEEDS_PY, 7300, "")?;
    let (conf, app) = (stage.install(UNICORN_CONF_RB)?, stage.install(QUOTES_RU)?);
    // `install` gives the words that run a program; the settings are a program that Unicorn runs.
    let conf = conf.trim_start_matches("ruby ");
    stage.start("app", &format!("unicorn --config-file {conf} {app}"))?;
    stage.until_listening(8080)?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:8080/ --every 0.71")?;
    stage.until_said("clients", "served 4")
}

fn checks(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", GATE_JAVA, 7404, "")?;
    stage.play("checker", CHECKER_PY, "7404 0.93 22")?;
    stage.until_said("checker", "checked 4")
}
