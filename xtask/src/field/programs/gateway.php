<?php
// A line server that answers and closes. PHP opens its sockets without close-on-exec, and the worker that it starts
// for a long job keeps them.
[, $port, $job] = $argv;
$listener = stream_socket_server("tcp://127.0.0.1:$port");
$clients = [];
$job_process = null;
for ($turn = 0; $turn < 100000; $turn++) {
    $readable = [$listener, ...$clients];
    $none = null;
    if (!stream_select($readable, $none, $none, 5)) {
        continue;
    }
    foreach ($readable as $stream) {
        if ($stream === $listener) {
            $clients[] = stream_socket_accept($listener);
            if (count($clients) == $job && $job_process === null) {
                $job_process = proc_open(['sleep', '1600'], [], $pipes);
            }
            continue;
        }
        $line = fgets($stream);
        if ($line === "QUIT\n" || $line === false) {
            fclose($stream);
            $clients = array_values(array_filter($clients, fn($client) => $client !== $stream));
        } else {
            fwrite($stream, "welcome\n");
        }
    }
}
