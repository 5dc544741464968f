"""The lab's page: three questions, answered from what trainings, exams and experiments left behind."""
