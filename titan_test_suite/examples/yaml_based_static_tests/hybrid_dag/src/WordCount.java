import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;

/** Counts the words of a text file: java -jar wordcount.jar INPUT OUTPUT, relative to TITAN_SHARED_DIR. */
public final class WordCount {
    public static void main(String[] args) throws IOException {
        Path shared = Path.of(System.getenv("TITAN_SHARED_DIR"), System.getenv("TITAN_RUN_ID"));
        Map<String, Integer> counts = new TreeMap<>();
        for (String word : Files.readString(shared.resolve(args[0])).split("\\W+")) {
            if (!word.isEmpty()) {
                counts.merge(word.toLowerCase(), 1, Integer::sum);
            }
        }
        StringBuilder table = new StringBuilder();
        counts.forEach((word, count) -> table.append(count).append('\t').append(word).append('\n'));
        Files.writeString(shared.resolve(args[1]), table);
        System.out.println(counts.size() + " different words");
    }
}
