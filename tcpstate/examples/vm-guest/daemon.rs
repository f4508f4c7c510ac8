//! The daemon under test, and its API.

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Where the daemon's words are.
pub(crate) const LOG: &str = "/tmp/daemon.log";
const URL: &str = "http://127.0.0.1:19293";
/// How long something may take that must happen: emulated processors are slow.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Daemon {
    child: Child,
    agent: ureq::Agent,
}

/// One page of `/metrics`: each series as it is written, with its value.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Daemon {
    /// Starts it as an operator would, and waits until it is ready.
    pub(crate) fn start() -> Result<Self> {
        let log = File::create(LOG)?;
        let mut command = Command::new("/bin/tcpstate");
        let child = command.arg("daemon").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .max_idle_age(Duration::from_hours(1))
            .build()
            .into();
        let mut daemon = Self { child: child.context("the daemon cannot be started")?, agent };
        eventually(|| {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon has ended: {status}");
            }
            // Until it listens, it refuses.
            Ok(daemon.json("/api/v1/status").is_ok_and(|status| status["ready"] == true).then_some(()))
        })?
        .context("the daemon does not become ready")?;
        Ok(daemon)
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut answer = self.agent.get(format!("{URL}{path}")).call().with_context(|| path.to_owned())?;
        answer.body_mut().with_config().limit(64 << 20).read_to_string().with_context(|| path.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.get(path)?).with_context(|| format!("{path} is not JSON"))
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Metrics::of(&self.get("/metrics")?)
    }

    /// Every socket of the API that passes a query, on all pages.
    pub(crate) fn sockets(&self, query: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.json(&format!("/api/v1/sockets?limit=1000&{query}{cursor}"))?;
            let Value::Array(sockets) = page["sockets"].take() else { bail!("a page without sockets") };
            all.extend(sockets);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }
}

impl Metrics {
    fn of(page: &str) -> Result<Self> {
        let samples = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let values = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').context("a sample without a value")?;
            Ok((series.to_owned(), value.parse().with_context(|| line.to_owned())?))
        });
        Ok(Self(values.collect::<Result<_>>()?))
    }

    /// A series that must be there.
    pub(crate) fn one(&self, series: &str) -> Result<f64> {
        self.0.get(series).copied().with_context(|| format!("the daemon has no metric {series}"))
    }

    /// The sums of all series of a name, by the value of one label.
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for (value, [found]) in self.labelled(name, [label]) {
            *sums.entry(found).or_default() += value;
        }
        sums
    }

    /// Changes of state so far, by the state before and the state after.
    pub(crate) fn transitions(&self) -> BTreeMap<(String, String), i64> {
        let all = self.labelled("tcpstate_transitions_total", ["from", "to"]);
        all.map(|(value, [from, to])| ((from, to), value)).collect()
    }

    fn labelled<'a, const N: usize>(
        &'a self,
        name: &'a str,
        labels: [&'a str; N],
    ) -> impl Iterator<Item = (i64, [String; N])> {
        self.0.iter().filter_map(move |(series, value)| {
            let list = series.strip_prefix(name)?.strip_prefix('{')?;
            let label = |label: &str| {
                let (_, rest) = list.split_once(&format!("{label}=\""))?;
                Some(rest.split('"').next()?.to_owned())
            };
            let found = labels.map(label);
            if found.iter().any(Option::is_none) {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "counts of a short run")]
            Some((*value as i64, found.map(Option::unwrap_or_default)))
        })
    }
}

/// What came of each key of `after` since `before`, without those that stayed as they were.
pub(crate) fn since<K: Ord + Clone>(before: &BTreeMap<K, i64>, after: &BTreeMap<K, i64>) -> BTreeMap<K, i64> {
    let more = after.iter().map(|(key, value)| (key.clone(), value - before.get(key).unwrap_or(&0)));
    more.filter(|(_, more)| *more != 0).collect()
}

/// Tries until there is a result; none if that takes too long.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = attempt()?;
        if result.is_some() || Instant::now() > deadline {
            return Ok(result);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

impl Daemon {
    /// # Errors
    /// When it has ended meanwhile.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the daemon has ended: {}", ended.unwrap_or_default());
        Ok(())
    }
}
