// A strict client of the HTTP contract, over HTTP/2 without TLS by prior knowledge, as Go programs
// that use Corrosion are: a line that isn't exactly as the contract has it ends the program.
//
//	goclient BASE_URL TOKEN
//
// The server must have the table tests(id, text). It prints "ok" when all was as it should be.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type client struct {
	base  string
	token string
	http  *http.Client
}

type statement struct {
	Query  string `json:"query"`
	Params []any  `json:"params"`
}

type execResponse struct {
	Results []struct {
		RowsAffected *uint64  `json:"rows_affected"`
		Time         *float64 `json:"time"`
		Error        *string  `json:"error"`
	} `json:"results"`
	Time    *float64 `json:"time"`
	Version *uint64  `json:"version"`
	ActorID string   `json:"actor_id"`
}

type endOfQuery struct {
	Time     float64 `json:"time"`
	ChangeID *uint64 `json:"change_id"`
}

// Exactly one of them is set.
type event struct {
	Columns []string          `json:"columns"`
	Row     []json.RawMessage `json:"row"`
	EOQ     *endOfQuery       `json:"eoq"`
	Change  []json.RawMessage `json:"change"`
	Error   *string           `json:"error"`
}

func (c *client) do(method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, c.base+path, reader)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.http.Do(request)
	if err == nil && response.ProtoMajor != 2 {
		err = fmt.Errorf("answered by %s", response.Proto)
	}
	return response, err
}

func (c *client) exec(statements ...statement) (*execResponse, error) {
	response, err := c.do("POST", "/v1/transactions", statements)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	answer := &execResponse{}
	if err := decoder.Decode(answer); err != nil {
		return nil, err
	}
	if response.StatusCode != 200 {
		return answer, fmt.Errorf("status %d", response.StatusCode)
	}
	if len(answer.Results) != len(statements) {
		return nil, fmt.Errorf("%d results for %d statements", len(answer.Results), len(statements))
	}
	for _, result := range answer.Results {
		if result.RowsAffected == nil || result.Time == nil || result.Error != nil {
			return nil, fmt.Errorf("a result that isn't one: %+v", result)
		}
	}
	return answer, nil
}

type stream struct {
	id, hash string
	body     io.ReadCloser
	lines    *bufio.Scanner
}

func open(response *http.Response, err error) (*stream, error) {
	if err != nil {
		return nil, err
	}
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	header := response.Header
	return &stream{
		id:    header.Get("corro-query-id"),
		hash:  header.Get("corro-query-hash"),
		body:  response.Body,
		lines: bufio.NewScanner(response.Body),
	}, nil
}

func (s *stream) next() (*event, error) {
	if !s.lines.Scan() {
		return nil, errors.Join(io.EOF, s.lines.Err())
	}
	decoder := json.NewDecoder(strings.NewReader(s.lines.Text()))
	decoder.DisallowUnknownFields()
	found := &event{}
	if err := decoder.Decode(found); err != nil {
		return nil, fmt.Errorf("%w: %s", err, s.lines.Text())
	}
	count := 0
	for _, is := range []bool{found.Columns != nil, found.Row != nil, found.EOQ != nil, found.Change != nil, found.Error != nil} {
		if is {
			count++
		}
	}
	if count != 1 {
		return nil, fmt.Errorf("%d events in one line: %s", count, s.lines.Text())
	}
	return found, nil
}

// rows reads to the end of the rows: columns first, then rows counted from 1, then eoq.
func (s *stream) rows(isSubscription bool) (int, uint64, error) {
	first, err := s.next()
	if err != nil || first.Columns == nil {
		return 0, 0, fmt.Errorf("the first event isn't columns: %+v %w", first, err)
	}
	for count := 0; ; count++ {
		found, err := s.next()
		switch {
		case err != nil:
			return 0, 0, err
		case found.EOQ != nil && !isSubscription:
			return count, 0, nil
		case found.EOQ != nil && found.EOQ.ChangeID == nil:
			return 0, 0, errors.New("eoq without a change_id")
		case found.EOQ != nil:
			return count, *found.EOQ.ChangeID, nil
		case len(found.Row) != 2:
			return 0, 0, fmt.Errorf("a row of %d parts", len(found.Row))
		}
		var id uint64
		var cells []any
		if err := errors.Join(json.Unmarshal(found.Row[0], &id), json.Unmarshal(found.Row[1], &cells)); err != nil {
			return 0, 0, err
		}
		if len(cells) != len(first.Columns) {
			return 0, 0, fmt.Errorf("%d cells for %d columns", len(cells), len(first.Columns))
		}
	}
}

// change reads one, which must be the one after last.
func (s *stream) change(last uint64) (string, uint64, error) {
	found, err := s.next()
	if err != nil {
		return "", 0, err
	}
	if len(found.Change) != 4 {
		return "", 0, fmt.Errorf("not a change of four parts: %s", s.lines.Text())
	}
	var kind string
	var rowID, id uint64
	var cells []any
	err = errors.Join(
		json.Unmarshal(found.Change[0], &kind), json.Unmarshal(found.Change[1], &rowID),
		json.Unmarshal(found.Change[2], &cells), json.Unmarshal(found.Change[3], &id))
	if err == nil && id != last+1 {
		err = fmt.Errorf("change %d after %d", id, last)
	}
	return kind, id, err
}

func (c *client) run() error {
	const where = " FROM tests WHERE id BETWEEN ? AND ?"
	const from, to = 900_000_001, 900_000_999
	insert := func(id int) statement {
		return statement{"INSERT INTO tests (id, text) VALUES (?, ?)", []any{id, fmt.Sprint("go ", id)}}
	}
	if _, err := c.exec(statement{"DELETE" + where, []any{from, to}}); err != nil {
		return err
	}
	answer, err := c.exec(insert(from), insert(from+1))
	if err != nil || answer.Version == nil {
		return fmt.Errorf("insert: %+v %w", answer, err)
	}
	// The same key again: one error, an answer of the same shape, nothing applied.
	answer, err = c.exec(insert(from+2), insert(from))
	if err == nil || answer == nil || len(answer.Results) != 1 || answer.Results[0].Error == nil {
		return fmt.Errorf("a refused transaction: %+v %w", answer, err)
	}
	// Without parameters they are null.
	query, err := open(c.do("POST", "/v1/queries", statement{Query: "SELECT id, text FROM tests WHERE id > 900000000"}))
	if err != nil {
		return err
	}
	if count, _, err := query.rows(false); err != nil || count != 2 {
		return fmt.Errorf("query: %d rows, %w", count, err)
	}
	if _, err := query.next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("a query that goes on: %w", err)
	}

	watched := statement{"SELECT id, text" + where, []any{from, to}}
	live, err := open(c.do("POST", "/v1/subscriptions", watched))
	if err != nil {
		return err
	}
	count, last, err := live.rows(true)
	if err != nil || count != 2 || live.id == "" || live.hash == "" {
		return fmt.Errorf("subscription %q %q: %d rows, %w", live.id, live.hash, count, err)
	}
	begun := last
	for id := from + 2; id < from+12; id++ {
		if _, err := c.exec(insert(id)); err != nil {
			return err
		}
		var kind string
		if kind, last, err = live.change(last); err != nil || kind != "insert" {
			return fmt.Errorf("a change: %s %w", kind, err)
		}
	}
	live.body.Close()

	// Taken up again: nothing but changes, from the next on; with the same id and hash.
	again, err := open(c.do("GET", fmt.Sprintf("/v1/subscriptions/%s?from=%d", live.id, begun+3), nil))
	if err != nil {
		return err
	}
	if again.id != live.id || again.hash != live.hash {
		return fmt.Errorf("resumed as %s %s, begun as %s %s", again.id, again.hash, live.id, live.hash)
	}
	last = begun + 3
	for last < begun+10 {
		if _, last, err = again.change(last); err != nil {
			return err
		}
	}
	skipping, err := open(c.do("POST", "/v1/subscriptions?skip_rows=true", watched))
	if err != nil {
		return err
	}
	if _, err := c.exec(statement{"DELETE FROM tests WHERE id = ?", []any{from}}); err != nil {
		return err
	}
	for _, one := range []*stream{again, skipping} {
		if kind, _, err := one.change(last); err != nil || kind != "delete" {
			return fmt.Errorf("a delete: %s %w", kind, err)
		}
	}
	// Silence, longer than the client's pings: the connection stays.
	time.Sleep(1500 * time.Millisecond)
	if _, err := c.exec(insert(from)); err != nil {
		return err
	}
	if kind, _, err := again.change(last + 1); err != nil || kind != "insert" {
		return fmt.Errorf("after silence: %s %w", kind, err)
	}
	unknown, err := c.do("GET", "/v1/subscriptions/11111111-2222-4333-8444-555566667777", nil)
	if err != nil || unknown.StatusCode != 404 {
		return fmt.Errorf("an unknown id: %+v %w", unknown, err)
	}
	_, err = c.exec(statement{"DELETE" + where, []any{from, to}})
	return err
}

func main() {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols,
		HTTP2:     &http.HTTP2Config{SendPingTimeout: 300 * time.Millisecond, PingTimeout: 5 * time.Second},
	}
	c := &client{base: os.Args[1], token: os.Args[2], http: &http.Client{Transport: transport}}
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}
