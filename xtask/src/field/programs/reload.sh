# Reloads a server now and then: reload.sh SIGNAL PIDFILE SECONDS.
turn=0
while [ $turn -lt 400 ]; do
    sleep "$3"
    kill -s "$1" "$(cat "/srv/field/$2")" || exit
    turn=$((turn + 1))
    echo "reloaded $turn"
done
