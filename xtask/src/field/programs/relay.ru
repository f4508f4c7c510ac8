# Asks a service for each request, and waits for its answer as long as that takes.
require 'net/http'

run(lambda do |_env|
  stock = Net::HTTP.start('127.0.0.1', 4712, read_timeout: 900) { |http| http.get('/stock').body }
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => stock.bytesize.to_s }, [stock]]
end)
