// A reader of feeds that keeps what it has read together with the socket that it came from, and closes none of them.
// Prints `served N failed N`.
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

public class Feeds {
    private record Feed(Socket source, byte[] text) {}

    public static void main(String[] arguments) throws Exception {
        List<Feed> feeds = new ArrayList<>();
        int failed = 0;
        for (int turn = 0; turn < 3000; turn++) {
            try {
                feeds.add(fetch(Integer.parseInt(arguments[0])));
            } catch (IOException error) {
                failed++;
            }
            System.out.println("served " + feeds.size() + " failed " + failed);
            Thread.sleep(Long.parseLong(arguments[1]));
        }
    }

    private static Feed fetch(int port) throws IOException {
        Socket socket = new Socket("127.0.0.1", port);
        socket.getOutputStream().write("GET /feed HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.UTF_8));
        InputStream input = socket.getInputStream();
        return new Feed(socket, input.readNBytes(600));
    }
}
