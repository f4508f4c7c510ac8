# What cron does, but every second: a job that runs for a moment.
turn=0
while [ $turn -lt 3000 ]; do
    perl /srv/field/job.pl "$1" >> /srv/field/log/job.log
    sleep 0.5
    turn=$((turn + 1))
done
