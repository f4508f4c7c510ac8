// A well-kept client: one HttpClient for all. Its concurrency rises for some time. Prints `served N failed N`.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Pool {
    private static int served;
    private static int failed;

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + arguments[0] + "/")).build();
        for (int worker = 0; worker < 12; worker++) {
            new Thread(() -> work(client, request)).start();
            Thread.sleep(4700);
        }
    }

    private static void work(HttpClient client, HttpRequest request) {
        for (int turn = 0; turn < 9000; turn++) {
            boolean done;
            try {
                done = client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode() == 200;
                Thread.sleep(420);
            } catch (Exception error) {
                done = false;
            }
            synchronized (Pool.class) {
                served += done ? 1 : 0;
                failed += done ? 0 : 1;
                System.out.println("served " + served + " failed " + failed);
            }
        }
    }
}
