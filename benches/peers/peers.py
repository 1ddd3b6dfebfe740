"""Forecasts the same moments of recorded load with our models and with the field's tools, and prints one table.

Every forecast is made from the samples up to its moment. Errors count on measured values only; MASE is against day
naive over the 14 days before the moment, averaged by series. CPU time is this process's, or what `backtest` tells.
"""

import argparse
import csv
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

DAY = 288
HISTORY = 14 * DAY
HOUR = 12
Z95 = 1.959964


def load(folder):
    """Series by name: an array by step, NaN where nothing was measured."""
    file = next(f for f in (folder / "vm_load.csv.gz", folder / "vm_load.csv") if f.exists())
    table = pd.read_csv(file)
    steps = int(table.k.max()) + 1
    found = {}
    for vm, rows in table.groupby("vm"):
        for metric in table.columns[2:]:
            values = np.full(steps, np.nan)
            values[rows.k.values] = rows[metric].values
            found[f"{vm}:{metric}"] = values
    return found


def known(values, origin):
    """What a peer gets: 14 days without gaps, of nothing after the moment."""
    past = pd.Series(values[max(0, origin - HISTORY + 1) : origin + 1])
    return past.ffill().bfill().to_numpy()


# --- peers: (values, horizon) -> mean, lower, upper ---------------------------------------------------------------


def statsforecast_peer(make):
    def forecast(values, horizon):
        if np.ptp(values) == 0:
            return (np.full(horizon, values[-1]),) * 3
        said = make().forecast(y=values, h=horizon, level=[95])
        return said["mean"], said["lo-95"], said["hi-95"]

    return lambda series, origins: forecast


def theta():
    from statsforecast.models import Theta

    return statsforecast_peer(lambda: Theta(season_length=DAY))


def mstl():
    from statsforecast.models import MSTL, AutoETS

    return statsforecast_peer(
        lambda: MSTL(season_length=[DAY, 7 * DAY], trend_forecaster=AutoETS(model="ZZN"))
    )


def auto_ets():
    from statsforecast.models import AutoETS

    return statsforecast_peer(lambda: AutoETS(model="ZZN", season_length=1))


def auto_arima():
    from statsforecast.models import AutoARIMA

    return statsforecast_peer(
        lambda: AutoARIMA(seasonal=False, approximation=True, max_p=3, max_q=3)
    )


def features(values, steps):
    """Of each distance in `steps`: what is known now, and of its time of day, in units of the series' own spread."""
    scale = max(np.abs(np.diff(values)).mean(), np.std(values) * 0.1, 1e-6)
    last = values[-1]
    now = [
        values[-3:].mean(), values[-12:].mean(), values[-12:].max(), values[-72:].mean(), values[-DAY:].mean(),
        values[-DAY:].max(), values[-1 - DAY], np.median(values),
    ]
    now = (np.array(now) - last) / scale
    days = len(values) // DAY
    same = np.stack([values[len(values) - day * DAY + (steps - 1) % DAY] for day in range(1, days + 1)])
    of_step = np.stack([same[0], same[min(6, days - 1)], np.median(same[:7], 0), same.max(0)], 1)
    of_step = (of_step - last) / scale
    rows = np.hstack([np.tile(now, (len(steps), 1)), of_step, steps[:, None], np.full((len(steps), 1), last / scale)])
    return rows, last, scale


def light_gbm():
    import lightgbm

    def prepare(series, origins):
        """One model for all series, trained on what lies before the first moment that is judged."""
        random = np.random.default_rng(1)
        first = origins.origin.min()
        rows, targets = [], []
        for name in sorted(set(origins.series)):
            values = series[name]
            for origin in random.integers(HISTORY, first - DAY, 60):
                near = random.integers(1, HOUR + 1, 6)
                steps = np.unique(np.r_[near, random.integers(1, DAY + 1, 8)])
                truth = values[origin + steps]
                row, last, scale = features(known(values, origin), steps)
                measured = np.isfinite(truth)
                rows.append(row[measured])
                targets.append((truth[measured] - last) / scale)
        rows, targets = np.vstack(rows), np.clip(np.concatenate(targets), -50, 50)
        fixed = dict(n_estimators=200, num_leaves=63, learning_rate=0.08, n_jobs=1, verbose=-1)
        models = [lightgbm.LGBMRegressor(objective="l1", **fixed).fit(rows, targets)]
        for quantile in (0.025, 0.975):
            model = lightgbm.LGBMRegressor(objective="quantile", alpha=quantile, **fixed)
            models.append(model.fit(rows, targets))

        def forecast(values, horizon):
            row, last, scale = features(values, np.arange(1, horizon + 1))
            mean, lower, upper = (model.booster_.predict(row) * scale + last for model in models)
            return mean, np.minimum(lower, mean), np.maximum(upper, mean)

        return forecast

    return prepare


PEERS = {
    "statsforecast Theta(288)": theta,
    "LightGBM, one for all": light_gbm,
}
# Seconds a series each: only where asked for. The first two say what augurs says.
SLOW = {
    "statsforecast MSTL + AutoETS": mstl,
    "statsforecast AutoETS": auto_ets,
    "statsforecast AutoARIMA": auto_arima,
}
OURS = {
    "**`mix`**": "mix",
    "`select`": "select",
    "augurs MSTL + AutoETS": "mstl",
    "augurs AutoETS": "ets",
    "day naive": "day-naive",
}


# --- running ------------------------------------------------------------------------------------------------------


def run_ours(binary, folder, origins, model):
    """Forecasts by key, and milliseconds for an hour and a day ahead."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = pathlib.Path(scratch, "origins.csv"), pathlib.Path(scratch, "out.csv")
        origins.to_csv(asked, index=False)
        words = [binary, "backtest", "--input", folder, "--origins", asked, "--output", answered, "--model", model]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[0])
        table = pd.read_csv(answered)
    cost = [float(ms) for ms in re.findall(r"ahead: ([\d.]+) ms", done.stderr)]
    said = {}
    for key, rows in table.groupby(["series", "origin"], sort=False):
        said[key] = (*(rows[c].to_numpy() for c in ("mean", "lower", "upper")), rows.pmax_p95.iloc[0])
    return said, cost


def run_peer(forecast, series, origins):
    said, spent = {}, {HOUR: [], DAY: []}
    for row in origins.itertuples():
        values = known(series[row.series], row.origin)
        before = time.process_time()
        try:
            mean, lower, upper = (np.asarray(part, float) for part in forecast(values, row.h))
        except Exception as error:  # a model that refuses a series is judged by the last value, as ours are
            print(f"  {row.series} at {row.origin}: {error}", file=sys.stderr)
            mean = lower = upper = np.full(row.h, values[-1])
        spent[DAY if row.h > HOUR else HOUR].append(time.process_time() - before)
        mean = np.where(np.isfinite(mean), mean, values[-1])
        bad = ~(np.isfinite(lower) & np.isfinite(upper))
        said[(row.series, row.origin)] = (mean, np.where(bad, mean, lower), np.where(bad, mean, upper), math.nan)
    return said, [1000 * sum(s) / len(s) for s in spent.values() if s]


# --- judging ------------------------------------------------------------------------------------------------------


def average_precision(events):
    """Of (happened, said)."""
    happened = np.array([e for e, _ in events], bool)
    said = np.array([p for _, p in events])
    if not happened.any():
        return math.nan
    order = np.argsort(-said, kind="stable")
    hits, said = np.cumsum(happened[order]), said[order]
    last = np.r_[said[1:] != said[:-1], True]
    precision, recall = (hits / np.arange(1, len(hits) + 1))[last], (hits / hits[-1])[last]
    return float((np.diff(np.r_[0, recall]) * precision).sum())


def judge(series, origins, said):
    errors, inside, onsets = {HOUR: {}, DAY: {}}, {HOUR: [], DAY: []}, []
    for row in origins.itertuples():
        values = series[row.series]
        mean, lower, upper, told = said[(row.series, row.origin)]
        past = pd.Series(values[max(0, row.origin - HISTORY + 1) : row.origin + 1]).interpolate(limit_direction="both")
        floor = 0.1 if row.series.endswith("_pct") else 1.0
        scale = max(np.abs(past.to_numpy()[DAY:] - past.to_numpy()[:-DAY]).mean(), floor)
        for steps in (HOUR, DAY):
            truth = values[row.origin + 1 : row.origin + 1 + steps]
            measured = np.isfinite(truth)
            if row.h < steps or not measured.any():
                continue
            error = np.abs(truth - mean[:steps])[measured] / scale
            errors[steps].setdefault(row.series, []).append(error)
            inside[steps].append(((truth >= lower[:steps]) & (truth <= upper[:steps]))[measured])
        truth = values[row.origin + 1 : row.origin + 1 + HOUR]
        if math.isfinite(row.thr_p95) and np.isfinite(truth).sum() >= 6 and past.iloc[-1] <= row.thr_p95:
            if not math.isfinite(told):
                spread = np.maximum((upper[:HOUR] - mean[:HOUR]) / Z95, 1e-9)
                deviations = (row.thr_p95 - mean[:HOUR]) / spread
                told = max(0.5 * math.erfc(d / math.sqrt(2)) for d in np.clip(deviations, -8, 8))
            onsets.append((np.nanmax(truth) > row.thr_p95, told))
    by_series = {
        steps: {name: np.concatenate(parts).mean() for name, parts in of.items()} for steps, of in errors.items()
    }
    coverage = {steps: np.concatenate(parts).mean() if parts else math.nan for steps, parts in inside.items()}
    return by_series, coverage, average_precision(onsets)


def ratio(of, base):
    """Geometric mean of the series' ratios; a fiftieth is added to both, or series that hardly move decide."""
    return math.exp(np.mean([math.log((of[name] + 0.02) / (base[name] + 0.02)) for name in base]))


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=pathlib.Path)
    words.add_argument("--shadowcast", required=True)
    words.add_argument("--every", type=int, default=6, help="judge every so-manieth moment")
    words.add_argument("--only", default="", help="parts of names, with commas")
    words.add_argument("--slow", action="store_true", help="also the peers that need seconds a series")
    asked = words.parse_args()
    if not (asked.folder / "origins.csv").exists():
        print(f"SKIPPED peers: there is no origins.csv in {asked.folder}", file=sys.stderr)
        return
    series = load(asked.folder)
    origins = pd.read_csv(asked.folder / "origins.csv").iloc[:: asked.every]
    wanted = [part for part in asked.only.lower().split(",") if part]
    found = {}
    peers = PEERS | (SLOW if asked.slow else {})
    for name in [*peers, *OURS]:
        if wanted and not any(part in name.lower() for part in wanted):
            continue
        print(f"{name} …", file=sys.stderr)
        try:
            if name in OURS:
                said, cost = run_ours(asked.shadowcast, asked.folder, origins, OURS[name])
            else:
                said, cost = run_peer(peers[name]()(series, origins), series, origins)
        except Exception as why:  # a peer that is not there, or breaks, costs its row and not the table
            print(f"SKIPPED {name}: {why}", file=sys.stderr)
            continue
        found[name] = (*judge(series, origins, said), cost)
    days = (origins.h >= DAY).sum()
    print(f"{len(origins)} moments of {origins.series.nunique()} series, {days} of them a day ahead\n")
    out = csv.writer(sys.stdout, delimiter="|", lineterminator="|\n")
    out.writerow(["", " model ", " 1 h MASE mean / median ", " 24 h MASE ", " to Theta(288), 1 h ", " onset AP ",
                  " coverage 1 h / 24 h ", " CPU ms a series, 1 h / 24 h "])
    out.writerow(["", *["---"] * 7])
    base = found.get("statsforecast Theta(288)")
    for name, (mase, coverage, precision, cost) in sorted(found.items(), key=lambda one: np.mean([*one[1][0][HOUR].values()])):
        hour, day = [*mase[HOUR].values()], [*mase[DAY].values()]
        out.writerow(["", f" {name} ", f" {np.mean(hour):.3f} / {np.median(hour):.3f} ", f" {np.mean(day):.3f} ",
                      f" {ratio(mase[HOUR], base[0][HOUR]):.2f} " if base else " – ", f" {precision:.3f} ",
                      f" {coverage[HOUR]:.3f} / {coverage[DAY]:.3f} ", " " + " / ".join(f"{ms:.2f}" for ms in cost) + " "])


if __name__ == "__main__":
    main()
