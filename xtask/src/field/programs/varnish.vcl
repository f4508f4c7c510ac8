vcl 4.1;

# Nothing is cached: each request goes to the backend, over a connection that is kept.
backend default {
    .host = "127.0.0.1";
    .port = "8087";
}

sub vcl_recv {
    return (pass);
}
