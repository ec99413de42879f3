package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// The rules of rooms, as the configuration names them.
const (
	ruleClaim      = "claim"
	ruleRLS        = "rls"
	ruleTenant     = "tenant"
	ruleMembership = "membership"
	ruleCallback   = "callback"
)

// Records are the questions that rules ask of Supabase; see [supabase.Client].
type Records interface {
	VisibleTo(ctx context.Context, token, table, key string, ids []string) ([]string, error)
	RoomsOf(ctx context.Context, in supabase.Member, user string, rooms []string) ([]string, error)
	Row(ctx context.Context, table, key, id string) (record json.RawMessage, found bool, err error)
}

// entrance asks about one room; see [Authorizer.MayEnter].
type entrance func(ctx context.Context, who *auth.Identity, kind RoomKind, id string) (string, error)

// pacing is waited for before each question that goes out; nil where somebody waits for the answer.
type pacing = func(context.Context) error

// inquiry is who asks about which kind of room.
type inquiry struct {
	who     *auth.Identity
	kind    RoomKind
	tenants entrance // for the rule tenant
	pace    pacing
}

// wait keeps the pace.
func (q *inquiry) wait(ctx context.Context) error {
	if q.pace == nil {
		return nil
	}
	return q.pace(ctx)
}

// decide asks the rules of a kind of room in their order, each about the rooms that no rule before
// it has opened. It gives the ids of open rooms as stored, by the ids that were asked about.
// Several ids must be as stored. There is an error where a rule could not be asked and no later
// rule has opened the room: whether the rooms that are not among the open ones are closed is then
// not known.
func (a *Authorizer) decide(ctx context.Context, q *inquiry, ids []string) (map[string]string, error) {
	room := a.settings.Load().rules[q.kind]
	open := make(map[string]string, len(ids))
	var failed error
	for _, rule := range room.order {
		left := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return open[id] != "" })
		for part := range slices.Chunk(left, supabase.MaxIDs) {
			found, err := a.ask(ctx, rule, room, q, part)
			maps.Copy(open, found)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("rule %s: %w", rule, err))
			}
		}
	}
	if len(open) == len(ids) {
		failed = nil
	}
	return open, failed
}

// ask asks one rule.
func (a *Authorizer) ask(
	ctx context.Context, rule string, room rules, q *inquiry, ids []string,
) (map[string]string, error) {
	switch rule {
	case ruleClaim:
		return a.claimed(room, q.who, q.kind, ids), nil
	case ruleRLS:
		if err := q.wait(ctx); err != nil {
			return nil, err
		}
		return a.visible(ctx, room, q, ids)
	case ruleMembership:
		if q.who.UserID == "" {
			return nil, nil
		}
		if err := q.wait(ctx); err != nil {
			return nil, err
		}
		found, err := a.rows.RoomsOf(ctx, room.membership, q.who.UserID, ids)
		return byAsked(ids, found), err
	case ruleTenant:
		return q.each(ctx, ids, func(id string) (string, error) { return a.byTenant(ctx, room, q, id) })
	case ruleCallback:
		return q.each(ctx, ids, func(id string) (string, error) { return a.callback.ask(ctx, q.who, q.kind, id) })
	}
	return nil, fmt.Errorf("there is no such rule") // the configuration knows no other
}

// visible opens the rooms whose rows Row Level Security shows to the user.
func (a *Authorizer) visible(
	ctx context.Context, room rules, q *inquiry, ids []string,
) (map[string]string, error) {
	found, err := a.rows.VisibleTo(ctx, q.who.Token, room.table, room.key, ids)
	if e, ok := supabase.AsError(err); ok && (e.Class == supabase.ClassToken || e.Class == supabase.ClassDenied) {
		return nil, nil // refused in words rather than by an empty answer
	}
	return byAsked(ids, found), err
}

// byAsked gives ids as stored by the ids asked for. Of a single one the answer may be spelled
// otherwise.
func byAsked(asked, found []string) map[string]string {
	open := make(map[string]string, len(found))
	for _, id := range found {
		switch {
		case len(asked) == 1:
			open[asked[0]] = id
		case slices.Contains(asked, id):
			open[id] = id
		}
	}
	return open
}

// each asks about one room after the other; a refusal is no failure.
func (q *inquiry) each(
	ctx context.Context, ids []string, ask func(id string) (string, error),
) (map[string]string, error) {
	open := make(map[string]string, len(ids))
	var failed error
	for _, id := range ids {
		var asStored string
		err := q.wait(ctx)
		if err == nil {
			asStored, err = ask(id)
		}
		switch {
		case err == nil && asStored != "":
			open[id] = asStored
		case err != nil && !errors.Is(err, ErrRefused):
			failed = errors.Join(failed, err)
		}
	}
	return open, failed
}

// byTenant opens a conversation to users who may enter its tenant's room. The conversation's row is
// read with the service key, since the user need not see it.
func (a *Authorizer) byTenant(ctx context.Context, room rules, q *inquiry, id string) (string, error) {
	record, found, err := a.rows.Row(ctx, room.table, room.key, id)
	if err != nil || !found {
		return "", err
	}
	conversation, err := row.Parse(record)
	if err != nil {
		return "", err
	}
	tenant := conversation.Text(room.tenant)
	if tenant == "" {
		return "", ErrRefused
	}
	if _, err := q.tenants(ctx, q.who, TenantRoom, tenant); err != nil {
		return "", err
	}
	return conversation.Text(room.key), nil
}

// claimed opens the rooms that the token names.
func (a *Authorizer) claimed(
	room rules, who *auth.Identity, kind RoomKind, ids []string,
) map[string]string {
	open := make(map[string]string)
	var claims map[string]any
	for _, id := range ids {
		if kind == TenantRoom && who.Tenant != "" && who.Tenant == id {
			open[id] = id
			continue
		}
		if claims == nil && len(room.claims) > 0 {
			claims = who.Claims()
		}
		for _, path := range room.claims {
			if slices.Contains(auth.ClaimTexts(claims, path), id) {
				open[id] = id
			}
		}
	}
	return open
}
