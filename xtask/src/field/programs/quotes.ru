# Asks a feed for each request, and keeps the sockets that it has read to their end.
require 'socket'

$feeds = []

run(lambda do |_env|
  feed = TCPSocket.new('127.0.0.1', 7300)
  feed.write("GET /feed HTTP/1.0\r\n\r\n")
  text = feed.read
  $feeds << feed
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => '4' }, [text.size.positive? ? "yes\n" : "no!\n"]]
end)
