# A message board. A thread for each client reads lines until the end; the client stays in the list of readers.
require 'socket'

readers = []
server = TCPServer.new('127.0.0.1', Integer(ARGV[0]))
loop do
  client = server.accept
  readers << client
  Thread.new(client) do |reader|
    while (line = reader.gets)
      reader.puts "posted: #{line}"
    end
  end
end
