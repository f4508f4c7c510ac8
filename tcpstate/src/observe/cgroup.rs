//! The systemd unit and the container in a process's cgroup path.

/// What a `/proc/PID/cgroup` tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    pub unit: Option<String>,
    pub container: Option<String>,
}

/// Reads `/proc/PID/cgroup` (cgroups(7)): lines `hierarchy:controllers:path`. On a hybrid host the named
/// systemd hierarchy knows the unit, and any hierarchy may know the container.
#[must_use]
pub fn parse(text: &str) -> Place {
    let mut place = Place::default();
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let unit = path.rsplit('/').find(|part| is_unit(part));
        let container = path.rsplit('/').find_map(container_id);
        // The longest unit path wins: other hierarchies often stop at a slice.
        place.unit = place.unit.or_else(|| unit.map(str::to_owned));
        place.container = place.container.or_else(|| container.map(str::to_owned));
    }
    place
}

fn is_unit(part: &str) -> bool {
    match part.rsplit_once('.') {
        Some((_, "service")) => true,
        Some((_, "scope")) => container_id(part).is_none(),
        _ => false,
    }
}

/// Container engines name the cgroup after the container: 64 hexadecimal digits, bare (cgroupfs driver) or
/// as `ENGINE-ID.scope` (systemd driver).
fn container_id(part: &str) -> Option<&str> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let id = bare.rsplit('-').next().unwrap_or(bare);
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn place(text: &str) -> (Option<String>, Option<String>) {
        let place = parse(text);
        (place.unit, place.container)
    }

    #[test]
    fn unit_and_container_are_read_from_every_known_form() {
        let unit = |name: &str| Some(name.to_owned());
        let id = || Some(ID.to_owned());
        for (text, expected) in [
            ("0::/system.slice/nginx.service", (unit("nginx.service"), None)),
            ("0::/system.slice/app.service/workers", (unit("app.service"), None)),
            ("0::/user.slice/user-1000.slice/session-3.scope", (unit("session-3.scope"), None)),
            (&format!("0::/system.slice/docker-{ID}.scope"), (None, id())),
            (&format!("0::/docker/{ID}"), (None, id())),
            (&format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"), (None, id())),
            (&format!("0::/machine.slice/libpod-{ID}.scope/container"), (None, id())),
            (
                &format!("12:memory:/docker/{ID}\n1:name=systemd:/system.slice/docker.service\n0::/"),
                (unit("docker.service"), id()),
            ),
            ("0::/", (None, None)),
            ("", (None, None)),
            ("nonsense\n:::", (None, None)),
        ] {
            assert_eq!(place(text), expected, "{text}");
        }
    }
}
