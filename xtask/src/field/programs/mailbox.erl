%% A mailbox server with passive sockets. It answers each client, and then never looks at its socket again.
-module(mailbox).
-export([main/0]).

main() ->
    {ok, [[Port]]} = init:get_argument(port),
    Options = [binary, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}, {backlog, 64}],
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), Options),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Owner = spawn(fun() -> receive go -> serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Owner),
    Owner ! go,
    accept(Listener).

serve(Socket) ->
    {ok, _Request} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, <<"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nno letters">>),
    %% It waits for a letter, which would have to be passed on to the client.
    receive letter -> gen_tcp:close(Socket) end.
