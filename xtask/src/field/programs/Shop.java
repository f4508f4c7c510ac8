// A shop that posts its orders through the JDK's own HTTP client, which keeps connections for five seconds and does
// not look whether the server has ended one meanwhile. Prints `served N failed N`.
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

public class Shop {
    private static int served;
    private static int failed;

    public static void main(String[] arguments) throws Exception {
        URL orders = new URL("http://127.0.0.1:" + arguments[0] + "/orders");
        long pause = Long.parseLong(arguments[1]);
        // All at the same time, so that none uses the connection of another while it is fresh.
        for (int thread = 0; thread < 4; thread++) {
            new Thread(() -> work(orders, pause)).start();
        }
    }

    private static void work(URL orders, long pause) {
        for (int turn = 0; turn < 900; turn++) {
            boolean done = post(orders);
            synchronized (Shop.class) {
                served += done ? 1 : 0;
                failed += done ? 0 : 1;
                System.out.println("served " + served + " failed " + failed);
            }
            try {
                Thread.sleep(pause);
            } catch (InterruptedException end) {
                return;
            }
        }
    }

    private static boolean post(URL orders) {
        try {
            HttpURLConnection connection = (HttpURLConnection) orders.openConnection();
            connection.setRequestMethod("POST");
            connection.setDoOutput(true);
            connection.getOutputStream().write("{\"item\": 4, \"count\": 2}".getBytes(StandardCharsets.UTF_8));
            connection.getInputStream().readAllBytes();
            return true;
        } catch (IOException lost) {
            return false;
        }
    }
}
