//! Checks of a finding's sentences that hold in every case: grammar of numbers, and no path of this machine.

/// Nouns that findings count.
const NOUNS: [&str; 16] = [
    "connection",
    "client",
    "process",
    "request",
    "socket",
    "worker",
    "time",
    "second",
    "descriptor",
    "byte",
    "close",
    "reset",
    "child",
    "answer",
    "retransmit",
    "look",
];

/// Folders that a program of a case never is in.
const FOREIGN: [&str; 4] = ["/root", "/work", "/tmp", "target/field"];

/// Everything that is wrong with a text, one sentence each.
pub(super) fn complaints(text: &str) -> Vec<String> {
    let mut complaints: Vec<_> = FOREIGN
        .iter()
        .filter(|folder| text.contains(*folder))
        .map(|folder| format!("a path of this machine is in its text: {folder}"))
        .collect();
    let words: Vec<&str> = text.split_whitespace().map(bare).collect();
    for (index, word) in words.iter().enumerate() {
        let next = words.get(index + 1).copied().unwrap_or_default();
        if let Ok(count) = word.parse::<f64>() {
            complaints.extend(number(word, count, next, words.get(index + 2).copied().unwrap_or_default()));
        }
        let is_of = words.get(index + 1) == Some(&"of");
        if let (true, Ok(part), Some(Ok(all))) =
            (is_of, word.parse::<u64>(), words.get(index + 2).map(|word| word.parse::<u64>()))
            && part > all
        {
            complaints.push(format!("more than there are: \"{part} of {all}\""));
        }
    }
    complaints
}

fn number(word: &str, count: f64, next: &str, after: &str) -> Option<String> {
    let plural = |noun: &str| match noun {
        "process" => "processes".to_owned(),
        "child" => "children".to_owned(),
        _ => format!("{noun}s"),
    };
    let is_one = word == "1";
    let noun = [next, after].into_iter().find_map(|word| {
        NOUNS.iter().find(|noun| word == **noun || word == plural(noun)).map(|noun| (noun, word))
    });
    if let Some((noun, said)) = noun {
        // "10-second steps" and the like have a hyphen, and are one word here.
        let right = if is_one { (*noun).to_owned() } else { plural(noun) };
        let is_direct = said == next || !next.is_empty() && next.chars().all(char::is_lowercase);
        if said != right && is_direct && !is_verb(next) {
            return Some(format!("number and noun do not fit: \"{word} {next} {after}\""));
        }
    }
    (count == 0.0 && word.contains('.') && matches!(next, "s" | "ms"))
        .then(|| format!("no time at all: \"{word} {next}\""))
}

/// Words between a number and a noun that belong to something else.
fn is_verb(word: &str) -> bool {
    [
        "of", "in", "a", "per", "and", "or", "to", "with", "from", "its", "the", "by", "at", "s", "ms",
        "min", "h",
    ]
    .contains(&word)
}

/// A word without the marks around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/')
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[track_caller]
    fn assert_wrong(text: &str, count: usize) {
        assert_eq!(complaints(text).len(), count, "{text}: {:?}", complaints(text));
    }

    #[test]
    fn a_number_fits_its_noun() {
        assert_wrong("1 connection of 3 processes waits for 4 s", 0);
        assert_wrong("1 connections wait", 1);
        assert_wrong("3 connection wait", 1);
        assert_wrong("1 closed connections wait", 1);
        assert_wrong("21 closed connections, 1 process.", 0);
        assert_wrong("after 1 s connections are closed", 0);
    }

    #[test]
    fn a_part_is_not_more_than_the_whole() {
        assert_wrong("retransmitted 15 of 15 times", 0);
        assert_wrong("retransmitted 21 of 15 times", 1);
    }

    #[test]
    fn no_time_at_all_is_no_time() {
        assert_wrong("forgotten after 0.0 s", 1);
        assert_wrong("forgotten after 10.0 s", 0);
    }

    #[test]
    fn paths_of_this_machine_are_found() {
        assert_wrong("/srv/field/app.py of /usr/bin/python3", 0);
        assert_wrong("/tmp/x/app.py", 1);
    }
}
