//! Names of TCP states, as the kernel, `ss` and RFC 9293 write them.

use tcpstate_common::TcpState;

/// Names by which other tools call a state.
const ALIASES: [(&str, TcpState); 6] = [
    ("ESTAB", TcpState::Established),
    ("SYN_RECEIVED", TcpState::SynRecv),
    ("FIN_WAIT_1", TcpState::FinWait1),
    ("FIN_WAIT_2", TcpState::FinWait2),
    ("CLOSED", TcpState::Close),
    ("LISTENING", TcpState::Listen),
];

/// Reads the name of one of the `possible` states, in either case, with `-` or `_`.
///
/// # Errors
/// A sentence that lists the possible states.
pub fn parse(name: &str, possible: &[TcpState]) -> Result<TcpState, String> {
    let wanted = name.to_ascii_uppercase().replace('-', "_");
    let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted).map(|(_, state)| *state);
    let state = alias.or_else(|| TcpState::ALL.into_iter().find(|state| state.name() == wanted));
    state.filter(|state| possible.contains(state)).ok_or_else(|| {
        let names: Vec<_> = possible.iter().map(|state| state.name()).collect();
        format!("`{name}` is no state here; the states are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_kernel_and_of_ss_are_understood() {
        let names = [
            ("TIME_WAIT", TcpState::TimeWait),
            ("time-wait", TcpState::TimeWait),
            ("Fin-Wait-1", TcpState::FinWait1),
            ("FIN_WAIT2", TcpState::FinWait2),
            ("fin_wait_2", TcpState::FinWait2),
            ("syn-recv", TcpState::SynRecv),
            ("close-wait", TcpState::CloseWait),
            ("estab", TcpState::Established),
            ("established", TcpState::Established),
            ("listening", TcpState::Listen),
            ("last-ack", TcpState::LastAck),
        ];
        for (name, state) in names {
            assert_eq!(parse(name, &TcpState::VISIBLE), Ok(state), "{name}");
        }
    }

    #[test]
    fn every_state_is_understood_by_its_own_name() {
        for state in TcpState::ALL {
            assert_eq!(parse(state.name(), &TcpState::ALL), Ok(state));
        }
    }

    #[test]
    fn what_is_not_a_possible_state_gets_the_list_of_those_that_are() {
        for name in ["", "TIMEWAIT", "time wait", "close", "unconn", "all", "6", "NEW_SYN_RECV"] {
            let detail = parse(name, &TcpState::VISIBLE).unwrap_err();
            for state in TcpState::VISIBLE {
                assert!(detail.contains(state.name()), "{detail}");
            }
        }
    }
}
