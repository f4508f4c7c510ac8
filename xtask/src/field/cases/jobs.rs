//! Programs that run for a moment, again and again: what each of them does wrong is one trouble.

use anyhow::{Result, ensure};

use super::{
    super::{
        case::{Case, Want},
        program::{JOB_PL, JOBS_SH, NGINX_SITE_CONF},
        stage::Stage,
    },
    servers,
};

pub(super) const CASES: &[Case] = &[Case::bug(
    "jobs-with-one-reset",
    "a job runs every second, and exits with most of an answer unread, which resets its connection",
    jobs,
    // Nothing is lost that anybody wants: the jobs have what they need. "perl" alone leads to no job.
    &[Want::info(&["rst-unread-data"], &["job"]).says(&["127.0.0.1:8080", "job.pl|jobs.sh"]).processes(2)],
)
.proof(|stage| {
    let resets = stage.kernel_count("TcpOutRsts");
    ensure!(resets > 40, "the jobs sent {resets} resets only");
    Ok(())
})];

fn jobs(stage: &mut Stage) -> Result<()> {
    stage.child("cron", Some("perl"), "job");
    stage.shell("mkdir site; seq 3000 > site/page.html")?;
    servers::nginx(stage, "server", NGINX_SITE_CONF, 8080)?;
    stage.install(JOB_PL)?;
    stage.play("cron", JOBS_SH, "8080")?;
    stage.until_said("job", "HTTP")
}
