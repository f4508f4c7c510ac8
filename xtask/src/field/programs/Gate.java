// A gateway for meters that keeps the connection of every meter. A health check that ends its direction at once is
// kept as well: the end of the stream is taken for a meter that is silent.
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

public class Gate {
    public static void main(String[] arguments) throws IOException {
        List<Socket> meters = new ArrayList<>();
        ServerSocket listener =
            new ServerSocket(Integer.parseInt(arguments[0]), 64, InetAddress.getByName("127.0.0.1"));
        while (true) {
            Socket meter = listener.accept();
            meters.add(meter);
            new Thread(() -> watch(meter)).start();
        }
    }

    private static void watch(Socket meter) {
        try {
            int reading = meter.getInputStream().read();
            while (reading >= 0) {
                meter.getOutputStream().write(reading);
                reading = meter.getInputStream().read();
            }
        } catch (IOException lost) {
            System.out.println("a meter is lost: " + lost.getMessage());
        }
    }
}
