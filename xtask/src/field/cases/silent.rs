//! Connections on which nearly nothing happens, and on which nothing should.

use anyhow::Result;

use super::{
    super::{
        case::Case,
        program::{CONSUMERS_PY, LISTENERS_PY, PGBOUNCER_INI, POSTGRES_POOL_PY, PUSH_JS, SUBSCRIBERS_PY},
        stage::Stage,
    },
    servers,
};

pub(super) const CASES: &[Case] = &[
    Case::healthy(
        "redis-subscribers",
        "subscribers of Redis wait for messages that come every 23 seconds",
        redis,
        |stage| stage.ensure_served("subscribers", 20, 0),
    ),
    Case::healthy(
        "rabbitmq-idle-consumers",
        "consumers of RabbitMQ wait at empty queues, with heartbeats",
        rabbitmq,
        |stage| stage.ensure_served("consumers", 4, 0),
    ),
    Case::healthy(
        "postgres-idle-pool",
        "the connections of a pool lie idle for a minute each, before PgBouncer and PostgreSQL",
        postgres,
        |stage| stage.ensure_served("pool", 15, 0),
    ),
    Case::healthy(
        "push-server",
        "WebSockets, server-sent events and long polls of a Node server, on which nearly nothing is said",
        push,
        |stage| stage.ensure_served("listeners", 30, 0),
    )
    .seconds(100),
];

fn redis(stage: &mut Stage) -> Result<()> {
    servers::redis(stage, "server")?;
    stage.play("subscribers", SUBSCRIBERS_PY, "6379 9")?;
    stage.until_said("subscribers", "served 9")
}

fn rabbitmq(stage: &mut Stage) -> Result<()> {
    servers::rabbitmq(stage, "server")?;
    stage.play("consumers", CONSUMERS_PY, "5672 7")?;
    stage.until_said("consumers", "served 1")
}

fn postgres(stage: &mut Stage) -> Result<()> {
    servers::postgres(stage, "database")?;
    servers::pgbouncer(stage, "bouncer", PGBOUNCER_INI)?;
    stage.play("pool", POSTGRES_POOL_PY, "6432 14 61")?;
    stage.until_said("pool", "served 2")
}

fn push(stage: &mut Stage) -> Result<()> {
    servers::serve(stage, "server", PUSH_JS, 8090, "")?;
    stage.play("listeners", LISTENERS_PY, "8090 9,6,5")?;
    stage.until_said("listeners", "served 15")
}
