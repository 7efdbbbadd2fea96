// Uncloud's own client of Corrosion, and its own store on top of it, against a server of the contract. `test/long/uncloud-client.ts`
// copies this file into a checkout of Uncloud (its packages are internal to its module) and runs it there:
//
//	uncloud-client ADDRESS [TOKEN]
//
// The server must have the tables of Uncloud's schema.sql. When this program prints `kill` or `stop`, whoever runs it
// ends the server that way, starts it again at the same address and answers with a line. It prints `ok` when
// all was as it should be.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/psviderski/uncloud/internal/corrosion"
	"github.com/psviderski/uncloud/internal/machine/api/pb"
	"github.com/psviderski/uncloud/internal/machine/store"
	"github.com/psviderski/uncloud/pkg/api"
)

const deadline = 30 * time.Second

// check ends the program: what it says is the failure's text.
func check(err error, what string, values ...any) {
	if err != nil {
		fail("%s: %v", fmt.Sprintf(what, values...), err)
	}
}

func fail(what string, values ...any) {
	fmt.Fprintf(os.Stderr, what+"\n", values...)
	os.Exit(1)
}

func equal(got, want any, what string) {
	if !reflect.DeepEqual(got, want) {
		fail("%s: wanted %#v, got %#v", what, want, got)
	}
}

var answers = bufio.NewReader(os.Stdin)

// ask wants something of whoever runs this program, and waits until it is done. The client's goroutines go on meanwhile.
func ask(what string) {
	fmt.Println(what)
	_, err := answers.ReadString('\n')
	check(err, "the answer to %s", what)
}

func main() {
	if len(os.Args) < 2 {
		fail("uncloud-client ADDRESS [TOKEN]")
	}
	address, err := netip.ParseAddrPort(os.Args[1])
	check(err, "the address")
	token := strings.Join(os.Args[2:], "")
	client, err := corrosion.NewAPIClient(address, token)
	check(err, "the client")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()

	if token != "" {
		other, err := corrosion.NewAPIClient(address, token+"x")
		check(err, "the client with a wrong token")
		_, err = other.QueryContext(ctx, "SELECT 1")
		if err == nil || !strings.Contains(err.Error(), "401") {
			fail("a wrong token: %v", err)
		}
	}
	execute(ctx, client)
	query(ctx, client)
	subscribe(ctx, client)
	storeAbove(ctx, store.New(client))
	fmt.Println("ok")
}

func put(key string, value any) corrosion.Statement {
	return corrosion.Statement{
		Query:  "INSERT INTO cluster (key, value, updated_at) VALUES (?, ?, datetime('now'))",
		Params: []any{key, value},
	}
}

func execute(ctx context.Context, client *corrosion.APIClient) {
	result, err := client.ExecContext(ctx, put("number", 0).Query, "number", 42)
	check(err, "an insert")
	equal(result.RowsAffected, uint(1), "rows affected by an insert")

	first, err := client.ExecMultiContext(ctx, put("text", "a \"quoted\" täxt"), put("real", 1.5), put("null", nil))
	check(err, "three inserts")
	equal(len(first.Results), 3, "results of three statements")
	second, err := client.ExecMultiContext(ctx, corrosion.Statement{Query: "DELETE FROM cluster WHERE key = 'null'"})
	check(err, "a statement without parameters")
	if first.Version == nil || second.Version == nil || *second.Version != *first.Version+1 {
		fail("versions of two commits: %v, %v", first.Version, second.Version)
	}
	none, err := client.ExecMultiContext(ctx, corrosion.Statement{Query: "DELETE FROM cluster WHERE key = 'null'"})
	check(err, "a statement that changes nothing")
	equal(none.Results[0].RowsAffected, uint(0), "rows affected by a statement that changes nothing")

	_, err = client.ExecMultiContext(ctx, put("late", 1), put("number", 1))
	if err == nil || !strings.Contains(err.Error(), "UNIQUE constraint failed: cluster.key") {
		fail("an insert of a key that is there: %v", err)
	}
	_, err = client.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
	if err == nil || !strings.Contains(err.Error(), "no such table: nowhere") {
		fail("an insert into no table: %v", err)
	}
}

func query(ctx context.Context, client *corrosion.APIClient) {
	rows, err := client.QueryContext(ctx, "SELECT key, value FROM cluster WHERE key <> ? ORDER BY key", "none")
	check(err, "a query")
	equal(rows.Columns(), []string{"key", "value"}, "columns")
	got := []string{}
	for rows.Next() {
		var key string
		var value json.RawMessage
		check(rows.Scan(&key, &value), "a row")
		got = append(got, key+"="+string(value))
	}
	check(rows.Err(), "the rows")
	equal(got, []string{"number=42", "real=1.5", `text="a \"quoted\" täxt"`}, "rows")
	_, err = rows.Time()
	check(err, "the query's time")

	_, err = client.QueryContext(ctx, "SELECT missing FROM cluster")
	if err == nil || !strings.Contains(err.Error(), "no such column: missing") {
		fail("a query of no column: %v", err)
	}

	// More than one frame and one flow control window of HTTP/2.
	rows, err = client.QueryContext(ctx,
		"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, hex(zeroblob(50)) FROM n")
	check(err, "a long query")
	count := 0
	for rows.Next() {
		var number int
		var text string
		check(rows.Scan(&number, &text), "row %d", count)
		count++
		if number != count || len(text) != 100 {
			fail("row %d is %d, %q", count, number, text)
		}
	}
	check(rows.Err(), "the rows of a long query")
	equal(count, 20000, "rows of a long query")
}

const byKey = "SELECT key, value FROM cluster WHERE key LIKE 's%' ORDER BY key"

// drained reads a subscription's rows, as everybody has to before its changes.
func drained(sub *corrosion.Subscription) int {
	count := 0
	for sub.Rows().Next() {
		count++
	}
	check(sub.Rows().Err(), "the rows of a subscription")
	return count
}

func changesOf(sub *corrosion.Subscription) <-chan *corrosion.ChangeEvent {
	changes, err := sub.Changes()
	check(err, "the changes of a subscription")
	return changes
}

// next is the next change, which must come in time, as one line.
func next(sub *corrosion.Subscription, changes <-chan *corrosion.ChangeEvent) (string, uint64) {
	select {
	case change, open := <-changes:
		if !open {
			fail("a subscription ended: %v", sub.Err())
		}
		values := make([]string, 0, 2)
		for _, value := range change.Values {
			values = append(values, string(value))
		}
		return fmt.Sprintf("%s %s", change.Type, strings.Join(values, " ")), change.ChangeID
	case <-time.After(deadline):
		fail("no change in %v", deadline)
		return "", 0
	}
}

func subscribe(ctx context.Context, client *corrosion.APIClient) {
	exec := func(sql string, values ...any) {
		_, err := client.ExecContext(ctx, sql, values...)
		check(err, "%s", sql)
	}
	exec(put("s1", 1).Query, "s1", 1)
	sub, err := client.SubscribeContext(ctx, byKey, nil, false)
	check(err, "a subscription")
	equal(sub.Rows().Columns(), []string{"key", "value"}, "columns of a subscription")
	equal(drained(sub), 1, "rows of a subscription")
	changes := changesOf(sub)

	// The same query is the same subscription, for whoever wants no rows too.
	twin, err := client.SubscribeContext(ctx, byKey, nil, true)
	check(err, "a subscription without rows")
	equal(twin.ID(), sub.ID(), "the id of the same query")
	twinChanges := changesOf(twin)

	exec(put("s2", 2).Query, "s2", 2)
	exec("UPDATE cluster SET value = 'two' WHERE key = 's2'")
	exec("DELETE FROM cluster WHERE key = 's1'")
	want := []string{`insert "s2" 2`, `update "s2" "two"`, `delete "s1" 1`}
	var last uint64
	for i, wanted := range want {
		got, id := next(sub, changes)
		equal(got, wanted, "a change")
		equal(id, uint64(i+1), "the id of a change")
		got, id = next(twin, twinChanges)
		equal(got, wanted, "a change without rows before")
		last = id
	}

	// The server dies, and is stopped, under open streams. The client notices, and takes them up from the last change: nothing is
	// lost, nothing comes twice (it refuses an id that isn't the next).
	for _, how := range []string{"kill", "stop"} {
		ask(how)
		exec("INSERT INTO cluster (key, value) VALUES (?, ?)", "s-"+how, how)
		wanted := fmt.Sprintf(`insert "s-%s" "%s"`, how, how)
		for _, one := range []*corrosion.Subscription{sub, twin} {
			got, id := next(one, changesOf(one))
			equal(got, wanted, "a change after a "+how)
			equal(id, last+1, "the id of a change after a "+how)
		}
		last++
	}
	check(twin.Close(), "closing a subscription")

	// From a change on, by hand.
	again, err := client.ResubscribeContext(ctx, sub.ID(), 1)
	check(err, "a subscription taken up again")
	got, id := next(again, changesOf(again))
	equal(got, want[1], "the change after the first")
	equal(id, uint64(2), "the id of the change after the first")
	check(again.Close(), "closing the subscription taken up again")
	// From the beginning: all rows again, which the client drains.
	whole, err := client.ResubscribeContext(ctx, sub.ID(), 0)
	check(err, "a subscription taken up from 0")
	wholeChanges := changesOf(whole)
	exec("UPDATE cluster SET value = 3 WHERE key = 's2'")
	got, _ = next(whole, wholeChanges)
	equal(got, `update "s2" 3`, "a change of a subscription taken up from 0")
	check(whole.Close(), "closing the subscription taken up from 0")

	_, err = client.ResubscribeContext(ctx, "00000000-0000-4000-8000-000000000000", 1)
	if !errors.Is(err, corrosion.ErrSubscriptionNotFound) {
		fail("a subscription that nobody knows: %v", err)
	}
	_, err = client.SubscribeContext(ctx, "DELETE FROM cluster", nil, false)
	if err == nil || !strings.Contains(err.Error(), "unexpected status code 400") {
		fail("a subscription of a DELETE: %v", err)
	}
	check(sub.Close(), "closing the first subscription")
}

// told waits for the signal that Uncloud's store gives when one of its lists has changed.
func told(changes <-chan struct{}, what string) {
	select {
	case _, open := <-changes:
		if !open {
			fail("the subscription of %s ended", what)
		}
	case <-time.After(deadline):
		fail("no signal of %s in %v", what, deadline)
	}
}

// storeAbove does what an Uncloud machine does with its cluster store.
func storeAbove(parent context.Context, cluster *store.Store) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	check(cluster.Put(ctx, "network", "10.210.0.0/16"), "Put")
	check(cluster.Put(ctx, "network", "10.211.0.0/16"), "Put of a key that is there")
	var network string
	check(cluster.Get(ctx, "network", &network), "Get")
	equal(network, "10.211.0.0/16", "Get")
	check(cluster.Delete(ctx, "network"), "Delete")
	if err := cluster.Get(ctx, "network", &network); !errors.Is(err, store.ErrKeyNotFound) {
		fail("Get of a deleted key: %v", err)
	}

	machines, machineChanges, err := cluster.SubscribeMachines(ctx)
	check(err, "SubscribeMachines")
	equal(len(machines), 0, "machines at first")
	machine := func(id, name string) *pb.MachineInfo {
		key := make([]byte, 32)
		return &pb.MachineInfo{Id: id, Name: name, Network: &pb.NetworkConfig{PublicKey: key}}
	}
	check(cluster.CreateMachine(ctx, machine("m-2", "beta")), "CreateMachine")
	told(machineChanges, "machines")
	check(cluster.CreateMachine(ctx, machine("m-1", "gamma")), "CreateMachine")
	told(machineChanges, "machines")
	check(cluster.UpdateMachine(ctx, machine("m-1", "alpha")), "UpdateMachine")
	told(machineChanges, "machines")
	machines, err = cluster.ListMachines(ctx)
	check(err, "ListMachines")
	names := []string{}
	for _, one := range machines {
		names = append(names, one.Name)
	}
	// Ordered by a column that SQLite generates from the JSON.
	equal(names, []string{"alpha", "beta"}, "names of the machines")
	if err = cluster.UpdateMachine(ctx, machine("m-9", "none")); !errors.Is(err, store.ErrMachineNotFound) {
		fail("UpdateMachine of none: %v", err)
	}

	containers, containerChanges, err := cluster.SubscribeContainers(ctx)
	check(err, "SubscribeContainers")
	equal(len(containers), 0, "containers at first")
	running := func(id, service, image string) api.ServiceContainer {
		labels := map[string]string{api.LabelServiceID: service, api.LabelServiceName: "name-of-" + service}
		var one api.ServiceContainer
		one.InspectResponse = container.InspectResponse{
			ContainerJSONBase: &container.ContainerJSONBase{ID: id, Image: image},
			Config:            &container.Config{Labels: labels},
		}
		return one
	}
	check(cluster.CreateOrUpdateContainer(ctx, running("c-1", "web", "one"), "m-1"), "CreateOrUpdateContainer")
	told(containerChanges, "containers")
	// The same again changes nothing; another image does.
	check(cluster.CreateOrUpdateContainer(ctx, running("c-1", "web", "one"), "m-1"), "CreateOrUpdateContainer")
	check(cluster.CreateOrUpdateContainer(ctx, running("c-1", "web", "two"), "m-1"), "CreateOrUpdateContainer")
	told(containerChanges, "containers")
	check(cluster.CreateOrUpdateContainer(ctx, running("c-2", "db", "one"), "m-2"), "CreateOrUpdateContainer")
	told(containerChanges, "containers")
	found, err := cluster.ListContainers(ctx, store.ListOptions{
		ServiceIDOrName: store.ServiceIDOrNameOptions{Name: "name-of-web"},
	})
	check(err, "ListContainers")
	if len(found) != 1 || found[0].Container.ID != "c-1" || found[0].Container.Image != "two" {
		fail("containers of one service: %+v", found)
	}
	// A join: with its machine gone, the container is no more in the list.
	check(cluster.DeleteMachine(ctx, "m-1"), "DeleteMachine")
	told(containerChanges, "containers")
	told(machineChanges, "machines")
	check(cluster.DeleteContainers(ctx, store.DeleteOptions{MachineIDs: []string{"m-2"}}), "DeleteContainers")
	told(containerChanges, "containers")
}
