import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

/** Reads a key a line, in hexadecimal, and prints its hash and, for each number of partitions given, its partition. */
public class Partitions {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        PrintWriter out = new PrintWriter(System.out);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            byte[] key = HexFormat.of().parseHex(line);
            out.print(Integer.toUnsignedString(Utils.murmur2(key)));
            for (String n : args) {
                out.print(" " + BuiltInPartitioner.partitionForKey(key, Integer.parseInt(n)));
            }
            out.println();
        }
        out.flush();
    }
}
