<?php
// A page that takes a moment.
usleep(350000);
$page = "it is " . date('H:i:s') . "\n";
header('Content-Length: ' . strlen($page));
echo $page;
