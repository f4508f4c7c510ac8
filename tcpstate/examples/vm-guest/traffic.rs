//! Processes that make connections: the tests' `actor`, one command a line.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// A process that takes orders; ended at the end.
pub(crate) struct Actor {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new("/bin/actor");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("no actor")?;
        let orders = child.stdin.take().context("no input")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, orders, answers })
    }

    /// One that serves, and its address.
    pub(crate) fn server(address: &str) -> Result<(Self, String)> {
        let mut actor = Self::start()?;
        let address = actor.told(&format!("serve {address}"))?;
        Ok((actor, address))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order without waiting for the answer.
    pub(crate) fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}").context("an actor has ended")
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let line = self.answers.next().context("an actor has ended")??;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, rest) => bail!("an actor says {rest}"),
        }
    }

    pub(crate) fn told(&mut self, order: &str) -> Result<String> {
        self.order(order)?;
        self.answer()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
