//! Where one scenario is set up: its namespaces, its processes, and what has to be found.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    cgroup::Frozen,
    dice::Dice,
    matrix::{Expected, Facts},
    place::{Link, Place},
    player::Player,
};

/// What programs are called on servers. Which part has which name is up to the dice.
const NAMES: [&str; 24] = [
    "payments", "orders", "api", "gateway", "worker", "java", "node", "envoy", "ledger", "search", "mailer",
    "auth", "catalog", "billing", "ingest", "cache", "edge", "report", "sync", "backup", "session", "quote",
    "stock", "notify",
];

/// Is kept until the end of the run, so that the numbers of namespaces are not given out again: a finding is known
/// by them.
type Attic = Arc<Mutex<Vec<Place>>>;

/// What all scenarios of a run share.
#[derive(Clone)]
pub(super) struct Hall {
    /// The program that plays all parts, under each of [`NAMES`].
    folder: PathBuf,
    attic: Attic,
    /// Times count from here.
    pub(super) begun: Instant,
}

impl Hall {
    /// # Errors
    /// When the links cannot be made.
    pub(super) fn open(program: &Path, folder: PathBuf) -> Result<Self> {
        // What an earlier run left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        for name in NAMES {
            std::os::unix::fs::symlink(program, folder.join(name))?;
        }
        Ok(Self { folder, attic: Attic::default(), begun: Instant::now() })
    }
}

/// One of the processes of a stage.
#[derive(Clone, Copy)]
pub(super) struct Who(usize);

/// One of the namespaces of a stage.
#[derive(Clone, Copy)]
pub(super) struct Where(usize);

pub(super) struct Stage {
    hall: Hall,
    pub(super) dice: Dice,
    number: u8,
    places: Vec<Place>,
    /// The names that are left: a finding is about a program, which two of one name would be.
    names: Vec<&'static str>,
    players: Vec<Player>,
    frozen: Vec<Frozen>,
    expected: Vec<Wanted>,
    permitted: Vec<(&'static str, Option<Who>)>,
}

/// An [`Expected`] whose processes may still start children.
struct Wanted {
    classes: Vec<&'static str>,
    owners: Vec<Who>,
    blamed: Blamed,
    owner_may_be_unknown: bool,
    needs_descriptors: bool,
    has_to_warn: bool,
    stood: Duration,
}

/// Which processes an [`Expected`] may name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blamed {
    Owners,
    Children,
}

impl Stage {
    pub(super) fn new(hall: &Hall, seed: u64, number: u8) -> Self {
        Self {
            hall: hall.clone(),
            dice: Dice::of(seed),
            number,
            places: Vec::new(),
            names: NAMES.to_vec(),
            players: Vec::new(),
            frozen: Vec::new(),
            expected: Vec::new(),
            permitted: Vec::new(),
        }
    }

    /// A namespace with nothing in it, where limits are tried that ordinary traffic would meet too.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn bare_place(&mut self) -> Result<Where> {
        self.places.push(Place::make()?);
        Ok(Where(self.places.len() - 1))
    }

    /// A namespace with ordinary traffic in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn place(&mut self) -> Result<Where> {
        let here = self.bare_place()?;
        let server = self.play(here, "server", &[])?;
        let to = self.to(server)?;
        self.play(here, "visitor", &[&to, "every=1500"])?;
        self.play(here, "keeper", &[&to, "every=2000", "size=3"])?;
        Ok(here)
    }

    /// Two namespaces with ordinary traffic in each, and a cable between them.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn two_places(&mut self) -> Result<(Where, Where, Link)> {
        let (near, far) = (self.place()?, self.place()?);
        let network = format!("10.{}.{}", self.number, self.dice.between(1, 250));
        let link = Link::make(network, self.at(near), self.at(far))?;
        Ok((near, far, link))
    }

    pub(super) fn at(&self, here: Where) -> &Place {
        &self.places[here.0]
    }

    /// Starts a part. What it is called is up to the dice.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn play(&mut self, here: Where, part: &str, words: &[&str]) -> Result<Who> {
        ensure!(!self.names.is_empty(), "a stage has no more than {} parts", NAMES.len());
        let name = self.names.swap_remove(usize::try_from(self.dice.next() % self.names.len() as u64)?);
        let mut command = self.at(here).command(&self.hall.folder.join(name));
        command.arg(part).arg(self.dice.next().to_string()).args(words);
        self.players.push(Player::start(part, &mut command)?);
        Ok(Who(self.players.len() - 1))
    }

    /// Starts a shell in a namespace that goes on until the end of the scenario.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn keep_doing(&mut self, here: Where, line: &str) -> Result<()> {
        let mut command = self.at(here).command(Path::new("sh"));
        command.args(["-ec", &format!("while :; do {line}; done")]);
        self.players.push(Player::start("a shell", &mut command)?);
        Ok(())
    }

    /// A server and its client in a namespace of their own.
    ///
    /// # Errors
    /// When they cannot be started.
    pub(super) fn pair(&mut self, server: (&str, &[&str]), client: (&str, &[&str])) -> Result<(Who, Who)> {
        let here = self.place()?;
        self.pair_in(here, here, server, client)
    }

    /// The same, where it is told.
    ///
    /// # Errors
    /// When they cannot be started.
    pub(super) fn pair_in(
        &mut self,
        near: Where,
        far: Where,
        server: (&str, &[&str]),
        client: (&str, &[&str]),
    ) -> Result<(Who, Who)> {
        let server = self.play(near, server.0, server.1)?;
        let client = self.client(far, server, client)?;
        Ok((server, client))
    }

    /// A client of a server.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn client(&mut self, here: Where, server: Who, client: (&str, &[&str])) -> Result<Who> {
        let to = self.to(server)?;
        let words: Vec<&str> = [to.as_str()].into_iter().chain(client.1.iter().copied()).collect();
        self.play(here, client.0, &words)
    }

    /// `to=ADDRESS` of a server.
    ///
    /// # Errors
    /// When it does not listen.
    pub(super) fn to(&self, server: Who) -> Result<String> {
        Ok(format!("to={}", self.wait_for(server, "at")?.1))
    }

    fn wait_for(&self, who: Who, word: &str) -> Result<(Instant, String)> {
        self.players[who.0].wait_for(word)
    }

    /// # Errors
    /// When it ends before it is ready.
    pub(super) fn until_ready(&self, who: Who) -> Result<()> {
        self.wait_for(who, "ready").map(drop)
    }

    /// Tells a part to go on.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn go_on(&mut self, who: Who) -> Result<()> {
        self.players[who.0].go_on()
    }

    /// Ends a part.
    pub(super) fn end(&mut self, who: Who) {
        self.players[who.0].end();
    }

    /// Freezes a process by its cgroup.
    ///
    /// # Errors
    /// When this machine has no cgroups.
    pub(super) fn freeze(&mut self, who: Who) -> Result<()> {
        self.frozen.push(Frozen::freeze(self.players[who.0].pid())?);
        Ok(())
    }

    /// Waits until the signature stands; for a look-alike, until it looks alike.
    ///
    /// # Errors
    /// When the part ends before.
    pub(super) fn until_stands(&self, who: Who) -> Result<Duration> {
        let (at, _) = self.wait_for(who, "stands")?;
        Ok(at.saturating_duration_since(self.hall.begun))
    }

    /// A verdict with the owner's descriptors, from a time on.
    pub(super) fn expect(&mut self, class: &'static str, owner: Who, stood: Duration) {
        self.want(&[class], &[owner], stood);
    }

    /// A verdict about something that has no descriptor (any more).
    pub(super) fn expect_without_descriptor(&mut self, class: &'static str, owner: Who, stood: Duration) {
        self.want(&[class], &[owner], stood).needs_descriptors = false;
    }

    /// A verdict whose owner cannot be known for sure: it names this one or nobody.
    pub(super) fn expect_owner_or_nobody(&mut self, class: &'static str, owner: Who, stood: Duration) {
        let wanted = self.want(&[class], &[owner], stood);
        wanted.needs_descriptors = false;
        wanted.owner_may_be_unknown = true;
    }

    /// A verdict that blames the children of a process, with their descriptors.
    pub(super) fn expect_children(&mut self, class: &'static str, parent: Who, stood: Duration) {
        self.want(&[class], &[parent], stood).blamed = Blamed::Children;
    }

    /// A verdict that may be told of either end, and of one class or another.
    pub(super) fn expect_either(&mut self, classes: &[&'static str], owners: &[Who], stood: Duration) {
        let wanted = self.want(classes, owners, stood);
        wanted.needs_descriptors = false;
        wanted.owner_may_be_unknown = true;
    }

    fn want(&mut self, classes: &[&'static str], owners: &[Who], stood: Duration) -> &mut Wanted {
        self.expected.push(Wanted {
            classes: classes.to_vec(),
            owners: owners.to_vec(),
            blamed: Blamed::Owners,
            owner_may_be_unknown: false,
            needs_descriptors: true,
            has_to_warn: false,
            stood,
        });
        let last = self.expected.len() - 1;
        &mut self.expected[last]
    }

    /// The verdict that was expected last has to be a warning or worse: no mention is enough.
    pub(super) fn as_a_warning(&mut self) {
        if let Some(wanted) = self.expected.last_mut() {
            wanted.has_to_warn = true;
        }
    }

    /// What is true as well, of one process.
    pub(super) fn permit(&mut self, class: &'static str, who: Who) {
        self.permitted.push((class, Some(who)));
    }

    /// What is true of this scenario by now.
    pub(super) fn facts(&self) -> Facts {
        let pid = |who: &Who| u64::from(self.players[who.0].pid());
        let children = |who: &Who| self.players[who.0].children().into_iter().map(u64::from);
        let everybody = (0..self.players.len()).map(Who);
        let expected = self.expected.iter().map(|wanted| {
            let owners: BTreeSet<u64> = match wanted.blamed {
                Blamed::Owners => wanted.owners.iter().map(pid).collect(),
                Blamed::Children => wanted.owners.iter().flat_map(children).collect(),
            };
            Expected {
                classes: wanted.classes.clone(),
                owners,
                owner_may_be_unknown: wanted.owner_may_be_unknown,
                needs_descriptors: wanted.needs_descriptors,
                has_to_warn: wanted.has_to_warn,
                stood: wanted.stood,
            }
        });
        let mut descriptors = BTreeMap::<u64, BTreeSet<u64>>::new();
        for (pid, fds) in self.players.iter().flat_map(Player::descriptors) {
            descriptors.entry(pid.into()).or_default().extend(fds);
        }
        Facts {
            netns: self.places.iter().map(|place| place.inode).collect(),
            pids: everybody.flat_map(|who| children(&who).chain([pid(&who)]).collect::<Vec<_>>()).collect(),
            expected: expected.collect(),
            permitted: self.permitted.iter().map(|(class, who)| (*class, who.as_ref().map(pid))).collect(),
            descriptors,
            ..Facts::default()
        }
    }

    /// What `ss` and `nstat` see in the namespaces, for whoever has to find out why a verdict is wrong.
    pub(super) fn evidence(&self) -> String {
        let of = |place: &Place| place.output("ss", &["-tanpoemi"]) + &place.output("nstat", &["-as"]);
        let all = self.places.iter().map(|place| format!("namespace {}:\n{}", place.inode, of(place)));
        all.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Frozen processes are killed first, then thawed.
        self.players.clear();
        self.frozen.clear();
        self.hall.attic.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.places);
    }
}
