//! The names that somebody may have meant who wrote one that there is not.

/// Names given at most.
const MOST: usize = 3;

/// Those of the names that are most like what was written, the likest first; none if nothing is like it. Capitals and
/// what joins words do not count.
#[must_use]
pub fn nearest(written: &str, names: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    let wanted = plain(written);
    let mut likely: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let candidate = plain(name);
            let slips = strsim::normalized_damerau_levenshtein(&wanted, &candidate);
            // Its beginning or a part of it is likelier than a slip.
            let likeness = match candidate.find(&wanted).filter(|_| wanted.len() > 2) {
                Some(0) => slips + 2.0,
                Some(_) => slips + 1.0,
                None => slips,
            };
            (likeness >= 0.5).then_some((likeness, name))
        })
        .collect();
    likely.sort_by(|(a, a_name), (b, b_name)| b.total_cmp(a).then_with(|| a_name.cmp(b_name)));
    likely.truncate(MOST);
    likely.into_iter().map(|(_, name)| name).collect()
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The nearest names as the end of a sentence: "; did you mean `a` or `b`?". Empty if nothing is like it.
#[must_use]
pub fn did_you_mean(written: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<_> = nearest(written, names).into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => format!("; did you mean {last}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::explain::Topic;

    fn of(written: &str) -> Vec<&'static str> {
        nearest(written, Topic::all().map(Topic::name))
    }

    #[test]
    fn a_slip_and_a_part_of_a_name_are_understood() {
        assert_eq!(of("close-wait-leek").first(), Some(&"close-wait-leak"));
        assert_eq!(of("closewaitleka").first(), Some(&"close-wait-leak"));
        assert_eq!(of("CLOSE_WAIIT").first(), Some(&"CLOSE_WAIT"));
        assert_eq!(of("clos").first(), Some(&"CLOSE"));
        assert!(of("exhaustion").contains(&"port-exhaustion"));
        assert!(of("syn").contains(&"syn-flood"));
    }

    #[test]
    fn what_is_like_nothing_gets_no_proposal() {
        for junk in ["", "!", "x", "kubernetes pods on fire", "日本"] {
            assert_eq!(of(junk), [""; 0], "{junk}");
            assert_eq!(did_you_mean(junk, Topic::all().map(Topic::name)), "");
        }
    }

    #[test]
    fn proposals_end_a_sentence() {
        assert_eq!(did_you_mean("abx", ["abc"]), "; did you mean `abc`?");
        assert_eq!(
            did_you_mean("abx", ["abc", "abd", "abe", "abf"]),
            "; did you mean `abc`, `abd` or `abe`?"
        );
    }
}
