//! What each class and each state of TCP is, how the kernel gets there, how to see it by hand, and what to do: texts
//! in Markdown, one file each.

use tcpstate_common::TcpState;

use super::class::Class;

/// What may be explained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topic {
    Class(Class),
    State(TcpState),
}

impl Topic {
    /// All classes, and all states.
    pub fn all() -> impl Iterator<Item = Self> {
        Class::ALL.into_iter().map(Self::Class).chain(TcpState::ALL.into_iter().map(Self::State))
    }

    /// The topic of this name: the id of a class, or a state as the kernel, RFC 9293, `ss` or `netstat` writes it, in
    /// capitals or not.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let plain: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        // What others call it.
        let plain = match plain.as_str() {
            "estab" => "established",
            "synreceived" => "synrecv",
            "closed" | "unconn" => "close",
            other => other,
        };
        Self::all().find(|topic| {
            let letters = topic.name().chars().filter(char::is_ascii_alphanumeric);
            letters.map(|c| c.to_ascii_lowercase()).eq(plain.chars())
        })
    }

    /// The id of the class, or the kernel's name of the state.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Class(class) => class.name(),
            Self::State(state) => state.name(),
        }
    }

    /// The text, Markdown.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Class(class) => of_class(class),
            Self::State(state) => of_state(state),
        }
    }
}

fn of_class(class: Class) -> &'static str {
    match class {
        Class::CloseWaitLeak => include_str!("explain/close-wait-leak.md"),
        Class::CloseWaitNeverRead => include_str!("explain/close-wait-never-read.md"),
        Class::CloseWaitIdlePool => include_str!("explain/close-wait-idle-pool.md"),
        Class::UnansweredRequests => include_str!("explain/unanswered-requests.md"),
        Class::EstablishedLeak => include_str!("explain/established-leak.md"),
        Class::FdExhaustion => include_str!("explain/fd-exhaustion.md"),
        Class::IdleTimeoutReset => include_str!("explain/idle-timeout-reset.md"),
        Class::WriteAfterFin => include_str!("explain/write-after-fin.md"),
        Class::AcceptStall => include_str!("explain/accept-stall.md"),
        Class::OwnerStopped => include_str!("explain/owner-stopped.md"),
        Class::FdInherited => include_str!("explain/fd-inherited.md"),
        Class::HalfClose => include_str!("explain/half-close.md"),
        Class::CloseWaitSendBlocked => include_str!("explain/close-wait-send-blocked.md"),
        Class::ProxyPair => include_str!("explain/proxy-pair.md"),
        Class::UnreadBody => include_str!("explain/unread-body.md"),
        Class::GhostReference => include_str!("explain/ghost-reference.md"),
        Class::PortExhaustion => include_str!("explain/port-exhaustion.md"),
        Class::TimeWaitChurn => include_str!("explain/time-wait-churn.md"),
        Class::TimeWaitOverflow => include_str!("explain/time-wait-overflow.md"),
        Class::SelfConnect => include_str!("explain/self-connect.md"),
        Class::RstUnreadData => include_str!("explain/rst-unread-data.md"),
        Class::RstLingerZero => include_str!("explain/rst-linger-zero.md"),
        Class::RstListenerClosed => include_str!("explain/rst-listener-closed.md"),
        Class::ConnectionRefused => include_str!("explain/connection-refused.md"),
        Class::KeepaliveRace => include_str!("explain/keepalive-race.md"),
        Class::PeerLostState => include_str!("explain/peer-lost-state.md"),
        Class::AcceptOverflowRst => include_str!("explain/accept-overflow-rst.md"),
        Class::KeepaliveTimeout => include_str!("explain/keepalive-timeout.md"),
        Class::AcceptOverflow => include_str!("explain/accept-overflow.md"),
        Class::SynBlackhole => include_str!("explain/syn-blackhole.md"),
        Class::SynFlood => include_str!("explain/syn-flood.md"),
        Class::FinWait2Owned => include_str!("explain/fin-wait2-owned.md"),
        Class::FinWait2Orphan => include_str!("explain/fin-wait2-orphan.md"),
        Class::OrphanStuck => include_str!("explain/orphan-stuck.md"),
        Class::HalfOpen => include_str!("explain/half-open.md"),
    }
}

fn of_state(state: TcpState) -> &'static str {
    match state {
        TcpState::Listen => include_str!("explain/states/listen.md"),
        TcpState::SynSent => include_str!("explain/states/syn-sent.md"),
        TcpState::SynRecv => include_str!("explain/states/syn-recv.md"),
        TcpState::NewSynRecv => include_str!("explain/states/new-syn-recv.md"),
        TcpState::Established => include_str!("explain/states/established.md"),
        TcpState::FinWait1 => include_str!("explain/states/fin-wait1.md"),
        TcpState::FinWait2 => include_str!("explain/states/fin-wait2.md"),
        TcpState::Closing => include_str!("explain/states/closing.md"),
        TcpState::TimeWait => include_str!("explain/states/time-wait.md"),
        TcpState::CloseWait => include_str!("explain/states/close-wait.md"),
        TcpState::LastAck => include_str!("explain/states/last-ack.md"),
        TcpState::Close => include_str!("explain/states/close.md"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
    }

    #[track_caller]
    fn assert_complete(topic: Topic, expected: &[&str]) {
        let (name, text) = (topic.name(), topic.text());
        assert!(text.starts_with(&format!("# {name}: ")), "{name} begins with its name");
        assert_eq!(headings(text), expected, "{name}");
        for section in text.split("\n## ").skip(1) {
            let body = section.split_once('\n').map_or("", |(_, body)| body.trim());
            assert!(body.len() > 5, "{name}: {section}");
        }
        let by_hand = text.split("## Confirm by hand").nth(1).unwrap_or_default();
        assert!(["ss ", "ps ", "tcpdump ", "nstat "].iter().any(|tool| by_hand.contains(tool)), "{name}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{name} has a line that is too long");
    }

    #[test]
    fn every_class_says_what_it_is_and_what_to_do() {
        for class in Class::ALL {
            let topic = Topic::Class(class);
            let sections = ["What it is", "The harm", "How the kernel gets there", "Confirm by hand", "Fix"];
            assert_complete(topic, &sections);
            let harm = topic.text().split("\n## ").nth(2).unwrap_or_default();
            assert!(harm.contains("at fault: "), "{}: who is at fault, or is not", topic.name());
        }
    }

    #[test]
    fn every_state_says_what_can_go_wrong_by_classes_that_there_are() {
        for state in TcpState::ALL {
            let topic = Topic::State(state);
            let sections =
                ["What it is", "How the kernel gets there", "Confirm by hand", "What can go wrong"];
            assert_complete(topic, &sections);
            let wrong = topic.text().split("## What can go wrong").nth(1).unwrap_or_default();
            let words = wrong.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            for id in words.filter(|word| word.contains('-')) {
                assert!(Class::of(id).is_some(), "{}: {id}", topic.name());
            }
        }
    }

    #[test]
    fn a_topic_is_found_however_it_is_written() {
        for topic in Topic::all() {
            assert_eq!(Topic::of(topic.name()), Some(topic));
        }
        let state = |name| match Topic::of(name) {
            Some(Topic::State(state)) => Some(state),
            _ => None,
        };
        assert_eq!(state("close-wait"), Some(TcpState::CloseWait));
        assert_eq!(state("FIN-WAIT-2"), Some(TcpState::FinWait2));
        assert_eq!(state("estab"), Some(TcpState::Established));
        assert_eq!(state("CLOSED"), Some(TcpState::Close));
        assert_eq!(Topic::of("nonsense"), None);
        assert_eq!(Topic::of(""), None);
    }
}
