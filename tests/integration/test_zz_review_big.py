import pytest
from tests.integration.delivery_bench import open_bench
from tests.integration.apps.trials import SingleTrialRequested
from streams.delivery import Permanent, handles
from tests.integration.test_delivery_faults import environment, trial
@pytest.mark.parametrize("size",[900_000, 985_000, 999_000])
async def test_big(size, trial):
    async def fail(event, work): raise Permanent("x"*3000)
    async with open_bench(trial, handles(SingleTrialRequested, name="fail")(fail)) as bench:
        ev=SingleTrialRequested(entity="e"*size)
        rec=bench.record(ev,0)
        try:
            await bench.context.records.produce(rec.topic,key=b"k",value=rec.value,headers=rec.headers)
        except Exception as e: print("REFUSED", e); return
        await bench.settled(bench.feed_records([rec._replace(key=b"k")]), seconds=8)
