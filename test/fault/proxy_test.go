package fault

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestForwardsBothWaysToTheEnd(t *testing.T) {
	t.Parallel()
	for name, listen := range map[string]func(string) (*Proxy, error){"plain": New, "kafka": NewKafka} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, conns := server(t)
			client, target := pair(t, proxy(t, listen, addr), conns)
			data := make([]byte, 3<<20+17)
			for i := range data {
				data[i] = byte(rand.IntN(256))
			}
			back := make(chan error, 1)
			go func() { // an echo that ends when the client does
				_, err := io.Copy(target, target)
				_ = target.CloseWrite()
				back <- err
			}()
			go func() {
				_, _ = client.Write(data)
				_ = client.CloseWrite()
			}()
			_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
			got, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d of %d bytes came back: %v", len(got), len(data), err)
			}
			if err := <-back; err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCutResetsBothSides(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, New, addr)
	client, target := pair(t, p, conns)
	client.send("x")
	target.want("x")
	p.Cut()
	client.isReset()
	target.isReset()
	client, target = pair(t, p, conns)
	target.send("y")
	client.want("y")
}

func TestFreezeHoldsAndThawDelivers(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, New, addr)
	client, target := pair(t, p, conns)
	p.Freeze()
	client.send("held")
	target.send("back")
	late := dial(t, p)
	late.send("late")
	_ = target.CloseWrite() // an end is held, too
	target.mute()
	client.mute()
	late.mute()
	if len(conns) != 0 {
		t.Fatal("a frozen proxy let a new connection through")
	}
	p.Thaw()
	target.want("held")
	client.want("back")
	client.ends(io.EOF)
	accepted(t, conns).want("late")
}

// A write that waits for its peer does not go on after a freeze.
func TestFreezeInterruptsAWrite(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, New, addr)
	client, target := pair(t, p, conns)
	data := make([]byte, 64<<20) // more than all the buffers on the way
	sent := make(chan error, 1)
	go func() {
		_, err := client.Write(data)
		sent <- err
	}()
	_ = target.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(target, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	p.Freeze()
	// What was on the way arrives; then there is silence, far from the end.
	n, _ := io.Copy(io.Discard, &deadlined{target})
	if n+1<<20 >= int64(len(data)) {
		t.Fatalf("%d bytes went through a frozen proxy", n)
	}
	p.Thaw()
	rest := int64(len(data)) - 1<<20 - n
	_ = target.SetReadDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.CopyN(io.Discard, target, rest); err != nil {
		t.Fatalf("%d of the last %d bytes: %v", got, rest, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// deadlined reads until there was silence. It embeds nothing: io.Copy would
// find the connection's own WriteTo.
type deadlined struct{ c conn }

func (d *deadlined) Read(b []byte) (int, error) {
	_ = d.c.SetReadDeadline(time.Now().Add(silence))
	return d.c.Read(b)
}

func TestVanishIsForEver(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, New, addr)
	client, target := pair(t, p, conns)
	p.Vanish()
	client.send("into the void")
	late := dial(t, p)
	late.send("late")
	late.mute()
	_ = target.Close() // nobody hears it
	p.Thaw()
	accepted(t, conns).want("late")
	client.mute()
	p.Cut()
	client.isReset()
}

// isRefused demands a reset, which may come before or after the dial returns.
func isRefused(t *testing.T, p *Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer func() { _ = c.Close() }()
		conn{c.(*net.TCPConn), t}.isReset()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, New, addr)
	client, target := pair(t, p, conns)
	p.Refuse(true)
	isRefused(t, p)
	client.send("still here")
	target.want("still here")
	p.Refuse(false)
	pair(t, p, conns)
}

func TestTargetThatIsDownIsAReset(t *testing.T) {
	t.Parallel()
	p := proxy(t, New, "127.0.0.1:1")
	isRefused(t, p)
	if _, err := New("nowhere"); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Fatal(err)
	}
}

func TestResetIsPassedOn(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, New, addr)
	client, target := pair(t, p, conns)
	_ = abort(target.TCPConn)
	client.isReset()
	client, target = pair(t, p, conns)
	_ = abort(client.TCPConn)
	target.isReset()
}

func TestURL(t *testing.T) {
	t.Parallel()
	p := proxy(t, New, "127.0.0.1:1")
	got, err := URL("postgres://me:pw@db:5432/essays?sslmode=disable", p)
	if want := "postgres://me:pw@" + p.Addr() + "/essays?sslmode=disable"; err != nil || got != want {
		t.Fatalf("%s, %v; want %s", got, err, want)
	}
	for _, bad := range []string{"postgres:///essays?host=/tmp&port=5432", "postgres://db:x y/"} {
		if got, err := URL(bad, p); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
}
