//! The systemd unit, the container and the Kubernetes pod in a process's cgroup path.

/// What a `/proc/PID/cgroup` tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    pub unit: Option<String>,
    pub container: Option<String>,
    /// The pod's uid, as `kubectl` shows it.
    pub pod: Option<String>,
}

/// Reads `/proc/PID/cgroup` (cgroups(7)): lines `hierarchy:controllers:path`. On a hybrid host the named
/// systemd hierarchy knows the unit, and any hierarchy may know the container and the pod. A name need not be UTF-8.
#[must_use]
pub fn parse(text: &[u8]) -> Place {
    let text = String::from_utf8_lossy(text);
    let mut place = Place::default();
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let unit = path.rsplit('/').find(|part| is_unit(part));
        let container = path.rsplit('/').find_map(container_id);
        let pod = path.contains("kubepods").then(|| path.rsplit('/').find_map(pod_uid)).flatten();
        // The longest unit path wins: other hierarchies often stop at a slice.
        place.unit = place.unit.or_else(|| unit.map(str::to_owned));
        place.container = place.container.or_else(|| container.map(str::to_owned));
        place.pod = place.pod.or(pod);
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

/// Container engines name the cgroup after the container: 64 hexadecimal digits, bare (cgroupfs driver), as
/// `ENGINE-ID.scope` (systemd driver), or as `SLICE:ENGINE:ID` (containerd where the drivers do not agree).
fn container_id(part: &str) -> Option<&str> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let id = bare.rsplit(['-', ':']).next().unwrap_or(bare);
    is_hexadecimal(id, 64).then_some(id)
}

/// The kubelet names a pod's cgroup `podUID` (cgroupfs driver) or `kubepods-QOS-podUID.slice` with underscores for
/// the dashes of the UID (systemd driver). A pod from a file on the node has 32 hexadecimal digits for a UID.
fn pod_uid(part: &str) -> Option<String> {
    let bare = part.split_once(".slice").map_or(part, |(bare, _)| bare);
    // No hexadecimal digit is a letter of "pod".
    let uid = bare[bare.rfind("pod")? + 3..].replace('_', "-");
    let mut groups = uid.split('-');
    let is_uuid = [8, 4, 4, 4, 12]
        .into_iter()
        .all(|digits| groups.next().is_some_and(|group| is_hexadecimal(group, digits)))
        && groups.next().is_none();
    (is_uuid || is_hexadecimal(&uid, 32)).then_some(uid)
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Place, parse};

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";
    const UID_IN_SLICE: &str = "0a1b2c3d_1111_2222_3333_444455556666";
    const STATIC_UID: &str = "0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn assert_place(text: &str, unit: Option<&str>, container: Option<&str>, pod: Option<&str>) {
        let owned = |name: Option<&str>| name.map(str::to_owned);
        let expected = Place { unit: owned(unit), container: owned(container), pod: owned(pod) };
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn unit_is_read_from_every_known_form() {
        for (text, unit) in [
            ("0::/system.slice/nginx.service", "nginx.service"),
            ("0::/system.slice/app.service/workers", "app.service"),
            ("0::/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            ("0::/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service"),
            ("5:devices:/system.slice\n1:name=systemd:/system.slice/cron.service\n0::/", "cron.service"),
        ] {
            assert_place(text, Some(unit), None, None);
        }
        for text in ["0::/", "", "nonsense\n:::", "0::/kubepods-not-a-pod.slice"] {
            assert_place(text, None, None, None);
        }
    }

    #[test]
    fn name_that_is_no_utf_8_hides_no_unit() {
        let place = parse(b"1:name=\xff:/x\n0::/system.slice/caf\xe9.service/w\xff");
        assert_eq!(place.unit.as_deref(), Some("caf\u{fffd}.service"));
    }

    #[test]
    fn container_is_read_from_every_known_form() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/docker/{ID}/system.slice"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/libpod_parent/libpod-{ID}"),
            format!("/system.slice/crio-{ID}.scope"),
            format!("/system.slice/cri-containerd-{ID}.scope"),
            format!("/default/{ID}"),
        ] {
            assert_place(&format!("0::{path}"), None, Some(ID), None);
            assert_place(&format!("9:memory:{path}\n1:name=systemd:{path}\n0::/"), None, Some(ID), None);
        }
        let quadlet = format!("0::/system.slice/web.service/libpod-payload-{ID}");
        assert_place(&quadlet, Some("web.service"), Some(ID), None);
        // The innermost of nested containers.
        let outer = ID.replace('0', "f");
        assert_place(&format!("0::/docker/{outer}/docker/{ID}"), None, Some(ID), None);
        // On v1 the engine's daemon may be all that the systemd hierarchy knows.
        let mixed = format!("12:memory:/docker/{ID}\n1:name=systemd:/system.slice/docker.service\n0::/");
        assert_place(&mixed, Some("docker.service"), Some(ID), None);
    }

    #[test]
    fn pod_is_read_from_every_known_form() {
        for path in [
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            format!("/kubepods/pod{UID}/{ID}"),
            format!("/kubepods/besteffort/pod{UID}/crio-{ID}"),
            format!("/kubepods.slice/kubepods-pod{UID_IN_SLICE}.slice/docker-{ID}.scope"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_IN_SLICE}.slice/cri-containerd-{ID}.scope"
            ),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_IN_SLICE}.slice/crio-{ID}.scope/container"
            ),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_IN_SLICE}.slice/cri-containerd-{ID}.scope"
            ),
        ] {
            assert_place(&format!("0::{path}"), None, Some(ID), Some(UID));
            assert_place(&format!("4:memory:{path}\n1:name=systemd:{path}\n0::/"), None, Some(ID), Some(UID));
        }
        let confused = format!(
            "0::/system.slice/containerd.service/kubepods-burstable-pod{UID_IN_SLICE}.slice:cri-containerd:{ID}"
        );
        assert_place(&confused, Some("containerd.service"), Some(ID), Some(UID));
        let from_file = format!("0::/kubepods/burstable/pod{STATIC_UID}/{ID}");
        assert_place(&from_file, None, Some(ID), Some(STATIC_UID));
    }

    #[test]
    fn what_only_looks_like_a_pod_is_none() {
        for path in [
            format!("/machine.slice/pod{UID}"),
            format!("/kubepods/pod{UID}0/x"),
            "/kubepods/pod/x".to_owned(),
            "/kubepods/podcast.service".to_owned(),
        ] {
            assert_eq!(parse(format!("0::{path}").as_bytes()).pod, None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[0-9:a-z/._kubepods\\-\n\u{e9}]{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }
}
