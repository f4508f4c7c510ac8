//! A client keeps connections for longer than its server does, and writes into one that the server has ended.

use anyhow::{Context, Result, ensure};

use super::{
    super::{
        case::{Case, Want},
        program::{
            CAREFUL_POOL_PY, CLOSER_PY, LOGGER_PL, MYSQL_POOL_PY, PGBOUNCER_SHORT_INI, POOL_PY,
            POSTGRES_POOL_PY, SHOP_JAVA, VARNISH_VCL, VISITORS_PY,
        },
        stage::Stage,
    },
    servers,
};

const WRITTEN: &[&str] = &["write-after-fin"];
/// The server's timeout and the client's pool do not fit; the finding may start from either.
const STALE: &[&str] = &["write-after-fin", "idle-timeout-reset"];

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "jdk-post-after-fin",
        "a Java shop posts orders through the JDK's client, three seconds after the server has ended the connection",
        jdk,
        &[Want::warning(WRITTEN, &["shop"]).says(&["127.0.0.1:8085"])],
    )
    .proof(|stage| {
        // The JDK sends a lost order once more, so that the shop counts no failures.
        let resets = stage.kernel_count("TcpEstabResets");
        ensure!(resets > 30, "only {resets} connections of the shop were reset");
        Ok(())
    }),
    Case::bug(
        "pool-after-fin",
        "a Python service takes connections out of its pool nine seconds after the server has ended them",
        pool,
        &[Want::warning(WRITTEN, &["pool"]).says(&["127.0.0.1:8086"])],
    )
    .proof(|stage| failures(stage, "pool", 10)),
    Case::bug(
        "logger-after-fin",
        "a Perl logger writes its lines into connections that the log server has ended twenty seconds before",
        logger,
        &[Want::warning(WRITTEN, &["logger"]).says(&["lost", "127.0.0.1:5140"])],
    )
    .seconds(120)
    .proof(|stage| failures(stage, "logger", 10)),
    Case::bug(
        "mariadb-wait-timeout",
        "a Python pool uses connections that MariaDB has ended five seconds before, after its wait_timeout",
        mariadb,
        // MariaDB ends them by RST, so that the client's next write fails without a packet: a client that has looked before
        // is seen to do just the same.
        &[Want::info(STALE, &["pool", "database"])
            .names(&["pool", "database"])
            .says(&["wait_timeout"])],
    )
    .proof(|stage| failures(stage, "pool", 10)),
    Case::bug(
        "pgbouncer-idle-timeout",
        "a Python pool uses connections that PgBouncer has ended seven seconds before, after its client_idle_timeout",
        pgbouncer,
        &[Want::warning(STALE, &["pool", "bouncer"])
            .names(&["pool", "bouncer"])
            .says(&["client_idle_timeout"])],
    )
    .proof(|stage| failures(stage, "pool", 10)),
    Case::healthy(
        "pool-that-looks",
        "a Python pool sees that PgBouncer has ended a connection, and the library says goodbye on it",
        careful,
        |stage| stage.ensure_served("pool", 30, 0),
    ),
    Case::healthy(
        "varnish-backend-closes",
        "a backend ends idle connections after a second, long before Varnish would, and Varnish sees that at once",
        varnish,
        |stage| stage.ensure_served("clients", 45, 0),
    ),
];

fn failures(stage: &Stage, role: &str, least: u64) -> Result<()> {
    let failed = stage.number(role, "failed").context("it counts no failures")?;
    ensure!(failed >= least, "only {failed} requests of the {role} failed");
    Ok(())
}

fn jdk(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", CLOSER_PY, 8085, "1.2 http")?;
    stage.play("shop", SHOP_JAVA, "8085 4300")?;
    stage.until_said("shop", "served 5")
}

fn pool(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", CLOSER_PY, 8086, "2.3 http")?;
    stage.play("pool", POOL_PY, "8086 5 2.3")?;
    stage.until_said("pool", "failed 2")
}

fn logger(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", CLOSER_PY, 5140, "2.6 lines")?;
    stage.play("logger", LOGGER_PL, "5140 11 22.7")?;
    stage.until_said("logger", "failed 2")
}

fn mariadb(stage: &mut Stage) -> Result<()> {
    servers::mariadb(stage, "database", "--wait-timeout=4")?;
    stage.play("pool", MYSQL_POOL_PY, "3306 6 9.1")?;
    stage.until_said("pool", "failed 2")
}

fn pgbouncer(stage: &mut Stage) -> Result<()> {
    servers::postgres(stage, "database")?;
    servers::pgbouncer(stage, "bouncer", PGBOUNCER_SHORT_INI)?;
    stage.play("pool", POSTGRES_POOL_PY, "6432 7 12.2")?;
    stage.until_said("pool", "failed 2")
}

fn varnish(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", CLOSER_PY, 8087, "1.3 http")?;
    let vcl = stage.install(VARNISH_VCL)?;
    stage.folder("varnish")?;
    stage.start(
        "varnish",
        &format!("varnishd -F -n /srv/field/varnish -a 127.0.0.1:80 -f {vcl} -s malloc,32m -p backend_idle_timeout=60"),
    )?;
    stage.until_listening(80)?;
    stage.play("clients", VISITORS_PY, "127.0.0.1:80/ --every 4.1 --group 3")?;
    stage.until_said("clients", "served 3")
}

fn careful(stage: &mut Stage) -> Result<()> {
    servers::postgres(stage, "database")?;
    servers::pgbouncer(stage, "bouncer", PGBOUNCER_SHORT_INI)?;
    stage.play("pool", CAREFUL_POOL_PY, "6432 7 12.2")?;
    stage.until_said("pool", "discarded 2")
}
