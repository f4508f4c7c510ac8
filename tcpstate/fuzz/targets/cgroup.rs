//! `/proc/PID/cgroup`.

use crate::{fuzz::fuzz, observe::cgroup};

fn seeds() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let texts = [
        "0::/system.slice/nginx.service\n".to_owned(),
        format!("0::/system.slice/docker-{id}.scope\n"),
        format!("5:devices:/docker/{id}\n1:name=systemd:/system.slice/cron.service\n0::/\n"),
        format!(
            "0::/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-{id}.scope\n"
        ),
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a\\x2db.service\n".to_owned(),
    ];
    texts.map(String::into_bytes).into()
}

#[test]
fn cgroup() {
    fuzz("cgroup", seeds(), |bytes| {
        let place = cgroup::parse(bytes);
        assert!(place.container.is_none_or(|id| id.len() == 64), "a container has an id");
    });
}
